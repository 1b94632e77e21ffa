//! Finds the name that was most likely meant.

/// Bytes of a name beyond which nothing is suggested; the comparison grows with the square.
const MAX_NAME: usize = 64;

/// Gives the one of `known` nearest to `name`, if it is near enough to be a slip of the finger.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > MAX_NAME {
        return None;
    }
    let name = name.to_lowercase();
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= MAX_NAME)
        .map(|candidate| (distance(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance * 3 <= candidate.chars().count().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (row, x) in a.chars().enumerate() {
        let mut line = vec![row + 1];
        let mut left_char = None;
        for (column, &y) in b.iter().enumerate() {
            let at =
                |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut cost = (at(&line, column) + 1)
                .min(at(&last, column + 1) + 1)
                .min(at(&last, column) + usize::from(x != y));
            if column > 0 && previous == Some(y) && left_char == Some(x) {
                cost = cost.min(at(&before, column - 1) + 1);
            }
            line.push(cost);
            left_char = Some(y);
        }
        previous = Some(x);
        before = std::mem::replace(&mut last, line);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_far_away() {
        let known = ["listener", "client", "id"];
        assert_eq!(nearest("listner", known), Some("listener"));
        assert_eq!(nearest("cleint", known), Some("client"));
        assert_eq!(nearest("Id", known), Some("id"));
        assert_eq!(nearest("zzz", known), None);
        assert_eq!(nearest("", known), None);
    }
}
