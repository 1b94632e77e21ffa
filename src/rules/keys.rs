//! The keys of policy files: what the reader takes and the schema tells.

use std::sync::LazyLock;

use crate::yaml::{Key, Section, Shape};

use super::compile::DAYS;
use super::{Channel, DataPath, FIRST_PORT, Field, Loudness, Per, Reaction, TransferMode};

/// A reply that denies (RFC 959 §4.2): a code from 400 to 559 other than 421, and a text.
const REPLY: &str = r"^(?!421)[45][0-5][0-9] (?=.*[^ ])[^\x00-\x1f\x7f]{1,396}$";

/// The text of a reply without its code.
const TEXT: &str = r"^(?! *[0-9]{3}([ -]|$))(?=.*[^ ])[^\x00-\x1f\x7f]{1,200}$";

/// A time of day.
const TIME: &str = "^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$";

/// `transfers` in `limits` at most.
pub(super) const MAX_TRANSFERS: u64 = 1_000_000;

/// The whole file.
pub(super) static POLICY: LazyLock<Section> = LazyLock::new(|| {
    Section::new(vec![
        Key::optional(
            "protocol",
            Shape::Map(&PROTOCOL),
            "How strictly peers are held to the protocol.",
        ),
        Key::optional(
            "groups",
            Shape::Groups(Box::new(members(Shape::Text))),
            "Names for networks, used in client, server and fxp.",
        ),
        Key::optional(
            "user-groups",
            Shape::Groups(Box::new(members(Shape::Either(vec![
                Shape::Pattern("^[^@]"),
                Shape::Integer(0, u64::MAX),
            ])))),
            "Names for users, used in user behind @.",
        ),
        Key::required(
            "rules",
            Shape::List(Box::new(Shape::Map(&RULE))),
            "The rules; the first one that matches decides.",
        ),
    ])
});

/// One rule.
pub(super) static RULE: LazyLock<Section> = LazyLock::new(|| {
    let texts = || Shape::many(Shape::Text);
    let condition = |field: Field, shape, about| Key::optional(field.name(), shape, about);
    let keys = vec![
        Key::required(
            "id",
            Shape::NameBut("default"),
            "The stable name that records keep.",
        ),
        Key::optional("allow", Shape::True, "The rule allows."),
        Key::optional(
            "deny",
            Shape::Either(vec![Shape::True, Shape::Pattern(REPLY)]),
            "The rule denies, with this reply.",
        ),
        condition(
            Field::Client,
            texts(),
            "Who dialled: addresses, networks, names of groups.",
        ),
        condition(
            Field::Server,
            texts(),
            "The server's own address, written in the same way.",
        ),
        condition(
            Field::Listener,
            texts(),
            "Names of listeners of the configuration.",
        ),
        condition(Field::Host, texts(), "Globs on the host that HOST named."),
        condition(
            Field::User,
            texts(),
            "Globs on the name given in USER; groups of users behind @.",
        ),
        condition(
            Field::Command,
            texts(),
            "Verbs, words of SITE, and classes of commands.",
        ),
        condition(
            Field::Mode,
            Shape::words(&TransferMode::NAMED),
            "Who dials the data connection that the command is about.",
        ),
        condition(
            Field::Channel,
            Shape::words(&Channel::NAMED),
            "Whether the control connection was ever encrypted.",
        ),
        condition(Field::Path, texts(), "Globs on the resolved path."),
        condition(
            Field::When,
            Shape::many(Shape::Map(&WINDOW_OF_TIME)),
            "Times of the week.",
        ),
        Key::optional(
            "audit",
            Shape::words(&Loudness::NAMED),
            "How loud the rule is on the record.",
        ),
        condition(
            Field::Fxp,
            texts(),
            "Foreign addresses that PORT and EPRT may announce.",
        ),
        Key::optional(
            "source-port-20",
            Shape::Boolean,
            "Data connections of active transfers must come from port 20.",
        ),
        Key::optional(
            "tls",
            Shape::Either(vec![Shape::Words(vec!["refuse", "pass"]), Shape::Map(&TLS)]),
            "What becomes of AUTH.",
        ),
        Key::optional(
            "data",
            Shape::words(&DataPath::NAMED),
            "Who carries the data.",
        ),
        Key::optional(
            "max-bytes",
            Shape::Pattern("^[1-9][0-9]*(B|kB|KB|MB|GB|KiB|MiB|GiB)$"),
            "Bytes that one transfer may carry.",
        ),
        Key::optional(
            "mask-text",
            Shape::Pattern(TEXT),
            "The text of the reply in place of the server's own.",
        ),
        Key::optional(
            "hide-features",
            Shape::many(Shape::Pattern("^[!-~]{1,32}$")),
            "Features that the reply to FEAT does not list.",
        ),
        Key::optional(
            "limits",
            Shape::many(Shape::Map(&LIMIT)),
            "How often, how many at one time and how much.",
        ),
    ];
    Section {
        keys,
        one_of: &["allow", "deny"],
        any_of: &[],
        beside: (
            "allow",
            &[
                "fxp",
                "tls",
                "data",
                "max-bytes",
                "mask-text",
                "hide-features",
                "limits",
            ],
        ),
    }
});

/// An entry of `limits`.
pub(super) static LIMIT: LazyLock<Section> = LazyLock::new(|| {
    let keys = vec![
        Key::required(
            "per",
            Shape::words(&Per::NAMED),
            "Whom one count is kept for.",
        ),
        Key::optional(
            "commands",
            Shape::Pattern("^[1-9][0-9]*/(s|min|h|day)$"),
            "Commands in so long: 600/min.",
        ),
        Key::optional(
            "transfers",
            Shape::Integer(1, MAX_TRANSFERS),
            "Transfers at one time.",
        ),
        Key::optional(
            "bytes",
            Shape::Pattern("^[1-9][0-9]*(B|kB|KB|MB|GB|KiB|MiB|GiB)/(s|min|h|day)$"),
            "Data of transfers in so long: 50GB/day.",
        ),
    ];
    Section {
        any_of: &["commands", "transfers", "bytes"],
        ..Section::new(keys)
    }
});

/// A window of `when`.
pub(super) static WINDOW_OF_TIME: LazyLock<Section> = LazyLock::new(|| {
    let day = format!("(?:{})", DAYS.join("|"));
    // Built once, and kept as long as the program.
    let days: &'static str = format!("^{day}(-{day})?$").leak();
    Section::new(vec![
        Key::optional(
            "days",
            Shape::many(Shape::Pattern(days)),
            "Weekdays: mon-fri, [sat, sun].",
        ),
        Key::optional("from", Shape::Pattern(TIME), "When it begins: \"08:00\"."),
        Key::optional(
            "to",
            Shape::Pattern(TIME),
            "The minute before which it ends.",
        ),
        Key::optional(
            "zone",
            Shape::Text,
            "A name of the IANA time zone database.",
        ),
    ])
});

/// `tls` where it is a mapping.
pub(super) static TLS: LazyLock<Section> = LazyLock::new(|| {
    Section::new(vec![Key::required(
        "window",
        Shape::Map(&WINDOW),
        "Passive data connections that come while TLS lasts.",
    )])
});

/// `window` in `tls`.
pub(super) static WINDOW: LazyLock<Section> = LazyLock::new(|| {
    Section::new(vec![
        Key::required(
            "ports",
            Shape::Ports(FIRST_PORT),
            "The server's ports for passive mode.",
        ),
        Key::optional(
            "at-most",
            Shape::Integer(1, 1000),
            "Connections at one time.",
        ),
    ])
});

/// `protocol`.
pub(super) static PROTOCOL: LazyLock<Section> = LazyLock::new(|| {
    let reaction = |name, about| Key::optional(name, Shape::words(&Reaction::NAMED), about);
    Section::new(vec![
        reaction("bare-lf", "A line that ends with LF alone."),
        reaction("unknown-commands", "Verbs that portcullis does not know."),
        Key::optional(
            "other-protocols",
            Shape::Words(vec!["refuse", "close"]),
            "HTTP, or before USER what is no command.",
        ),
        reaction(
            "unrequested-passive-reply",
            "A 227, 228 or 229 that nobody asked for.",
        ),
        reaction("foreign-passive-address", "A 227 that names another host."),
        reaction("transfers-before-login", "Transfer commands before 230."),
        Key::optional(
            "pinhole-opens",
            Shape::Words(vec!["on-acceptance", "immediate"]),
            "When an active pinhole opens.",
        ),
        Key::optional(
            "refused-ports",
            Shape::many(Shape::Ports(FIRST_PORT)),
            "Ports that no announcement may name.",
        ),
        Key::optional(
            "max-line",
            Shape::Integer(512, 4096),
            "Bytes of a line with a path.",
        ),
        Key::optional("max-path", Shape::Integer(1, 4096), "Bytes of a pathname."),
        Key::optional(
            "max-unanswered",
            Shape::Integer(1, 1000),
            "Commands without a reply.",
        ),
        Key::optional(
            "strict",
            Shape::Boolean,
            "Little may stand behind the port in PORT and 227.",
        ),
        Key::optional(
            "long-addresses",
            Shape::Words(vec!["accept", "refuse"]),
            "LPRT and LPSV (RFC 1639).",
        ),
        Key::optional(
            "max-bad-passwords",
            Shape::Integer(0, 1000),
            "Wrong passwords before the session is closed; 0 for no limit.",
        ),
        Key::optional(
            "bad-password-delay",
            Shape::Duration,
            "How long a 530 is held back.",
        ),
        Key::optional("banner", Shape::Pattern(TEXT), "The text of the greeting."),
    ])
});

/// One value or a list of them; an empty group is warned of only.
fn members(shape: Shape) -> Shape {
    Shape::Either(vec![shape.clone(), Shape::List(Box::new(shape))])
}
