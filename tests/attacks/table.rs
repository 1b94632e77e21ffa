//! The table of both sides in `tests/RESULTS.md`.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;

use crate::AT_A_TIME;
use crate::arena::{FIRST, Side};
use crate::attack::{Attack, Finding};

/// Set by `tests/attacks/run`, to the day that the table bears.
const WANTED: &str = "PORTCULLIS_ATTACKS_TABLE";
/// The file, in which other sections stay as they are.
const FILE: &str = "tests/RESULTS.md";
const HEAD: &str = "## Attacks\n";

/// Whether both sides are to be measured, instead of portcullis being tested.
pub(crate) fn is_wanted() -> bool {
    std::env::var_os(WANTED).is_some()
}

/// Runs every attack on both sides and writes the table.
///
/// # Errors
/// Where portcullis fell, after the table is written.
pub(crate) fn write(attacks: &[Attack]) -> Result<(), String> {
    let sides = [Side::Helper, Side::Portcullis];
    let work: VecDeque<_> = (0..attacks.len())
        .flat_map(|index| sides.map(|side| (index, side)))
        .collect();
    let (work, done) = (Mutex::new(work), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let next = work.lock().expect("nobody panics with it").pop_front();
                    let Some((index, side)) = next else {
                        return;
                    };
                    let number = FIRST + u8::try_from(index).expect("there are fewer attacks");
                    let attack = &attacks[index];
                    let run = std::panic::catch_unwind(|| attack.run(side, number));
                    done.lock()
                        .expect("nobody panics with it")
                        .push((index, side, run.ok()));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("nobody panics with it");
    done.sort_by_key(|(index, side, _)| (*index, *side == Side::Portcullis));
    let (mut text, mut failed, mut fell) = (String::new(), String::new(), [Count::default(); 2]);
    for pair in done.chunks(2) {
        let attack = &attacks[pair[0].0];
        let mut cells = Vec::new();
        for (_, side, outcome) in pair {
            let Some(outcome) = outcome else {
                let _ = writeln!(failed, "{}: could not be run against {side:?}", attack.name);
                cells.push("not measured".to_owned());
                continue;
            };
            fell[usize::from(*side == Side::Portcullis)].count(&outcome.finding);
            if *side == Side::Portcullis
                && let Err(how) = attack.judge(outcome)
            {
                let _ = writeln!(failed, "{}: {how}", attack.name);
            }
            cells.push(match side {
                Side::Helper => cell(&outcome.finding),
                Side::Portcullis => format!("{}{}", cell(&outcome.finding), remark(attack)),
            });
        }
        let _ = writeln!(text, "| {} | {} |", escaped(attack.what), cells.join(" | "));
    }
    replace(&section(attacks.len(), fell, &text));
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed)
    }
}

/// How often a side did what it should not.
#[derive(Clone, Copy, Default)]
struct Count {
    fell: usize,
    broke: usize,
    passed_on: usize,
}

impl Count {
    fn count(&mut self, finding: &Finding) {
        match finding {
            Finding::Falls(_) => self.fell += 1,
            Finding::Breaks(_) => self.broke += 1,
            Finding::PassesOn(_) => self.passed_on += 1,
            Finding::Resists(_) | Finding::NotApplicable(_) => {}
        }
    }
}

fn cell(finding: &Finding) -> String {
    match finding {
        Finding::Falls(how) => format!("**falls**: {}", escaped(how)),
        Finding::Breaks(how) => format!("**breaks**: {}", escaped(how)),
        Finding::PassesOn(how) => format!("passes on: {}", escaped(how)),
        Finding::Resists(how) => format!("resists: {}", escaped(how)),
        Finding::NotApplicable(why) => format!("n/a: {why}"),
    }
}

/// What the record was seen to say, and why portcullis cannot do better.
fn remark(attack: &Attack) -> String {
    let words = attack.recorded.iter().map(|word| {
        let word = word.trim_start_matches("\"event\":").replace('"', "");
        format!("`{}`", escaped(&word))
    });
    let record = match words.collect::<Vec<_>>().join(", ").as_str() {
        "" => String::new(),
        words => format!("; on record: {words}"),
    };
    let limit = attack
        .limit
        .map_or_else(String::new, |limit| format!("; {limit}"));
    format!("{record}{limit}")
}

fn escaped(text: &str) -> String {
    let text = text.replace('|', "\\|");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn section(attacks: usize, [helper, portcullis]: [Count; 2], rows: &str) -> String {
    let day = std::env::var(WANTED).unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim();
    format!(
        "{HEAD}
Written by `tests/attacks/run` on {day}, Linux {kernel}; not to be edited. {attacks} attempts, two of them no attacks,
each made on both sides over real connections:

| | falls | breaks | passes on |
|---|---|---|---|
| kernel helper (nf_conntrack_ftp, nf_nat_ftp) | {} | {} | {} |
| portcullis | {} | {} | {} |

Both sides have the same hosts and a forward chain that drops. The helper's edge has `ct helper` on port 21 with the
module's defaults, masquerading, DNAT to the published servers, and accepts `ct state established,related`; an operator
who accepts related connections only from port 1024 on is spared those to lower ports. Portcullis' edge has the one line
for its mark. The servers are scripts that agree to what they hear, unless the attack says otherwise.

- *falls*: a listener that must not be reached was reached, or the kernel expects a connection that must not come
  (`conntrack -L expect`).
- *breaks*: a session that is at no fault does not work.
- *passes on*: opens nothing, and leaves it to the peer to refuse the line. The helper has no policy and does not claim to.
- *resists*: none of it. Where a listener was dialled in vain, the edge was opened to it afterwards, and then it was
  reached. Portcullis' record was seen to say what stands behind *on record*.

| attack | kernel helper | portcullis |
|---|---|---|
{rows}",
        helper.fell, helper.broke, helper.passed_on, portcullis.fell, portcullis.broke, portcullis.passed_on
    )
}

/// Puts the section in the place of the one that is there, or at the end.
fn replace(section: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| "# Results\n".to_owned());
    let (before, behind) = match text.split_once(HEAD) {
        Some((before, own)) => (
            before.to_owned(),
            own.find("\n## ")
                .and_then(|next| own.get(next..))
                .unwrap_or_default(),
        ),
        None => (format!("{}\n\n", text.trim_end()), ""),
    };
    std::fs::write(&path, format!("{before}{section}{behind}")).expect("the file can be written");
}
