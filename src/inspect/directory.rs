//! The session's working directory, followed through CWD, CDUP and PWD, for rules about paths.
//!
//! Purely lexical: links on the server are not seen.

/// Where relative paths start; unknown until the server has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directory {
    known: Option<Vec<u8>>,
}

impl Directory {
    /// Resolves a pathname: absolute where the directory is known or the name is absolute, else as
    /// written.
    pub(super) fn resolve(&self, name: &[u8]) -> Vec<u8> {
        let absolute = name.first() == Some(&b'/');
        let folder = match &self.known {
            _ if absolute => &[],
            Some(directory) => directory.as_slice(),
            None => return name.to_vec(),
        };
        normalise(folder, name)
    }

    /// The server accepted CWD to `path`, as [`Self::resolve`] gave it, or CDUP to `..`.
    pub(super) fn entered(&mut self, path: &[u8]) {
        self.known = (path.first() == Some(&b'/')).then(|| path.to_vec());
    }

    /// The server named the directory: `257 "/a ""quoted"" name" …` (RFC 959 appendix II).
    pub(super) fn named(&mut self, line: &[u8]) {
        let mut quoted = line
            .splitn(2, |&byte| byte == b'"')
            .nth(1)
            .unwrap_or_default()
            .iter();
        let mut path = Vec::new();
        while let Some(&byte) = quoted.next() {
            if byte == b'"' && quoted.next() != Some(&b'"') {
                break;
            }
            path.push(byte);
        }
        if path.first() == Some(&b'/') {
            self.known = Some(normalise(&[], &path));
        }
    }

    /// Nothing is known: before login, after REIN.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }
}

/// Goes from a folder, itself without such segments, along a path: removes empty and `.` segments and
/// resolves `..`, which stops at the root.
fn normalise(folder: &[u8], path: &[u8]) -> Vec<u8> {
    let mut normal = Vec::with_capacity(folder.len() + 1 + path.len());
    if folder != b"/" {
        normal.extend_from_slice(folder);
    }
    for segment in path.split(|&byte| byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = normal.iter().rposition(|&byte| byte == b'/');
                normal.truncate(parent.unwrap_or_default());
            }
            _ => {
                normal.push(b'/');
                normal.extend_from_slice(segment);
            }
        }
    }
    if normal.is_empty() {
        normal.push(b'/');
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_servers_word() {
        let mut directory = Directory::default();
        assert_eq!(directory.resolve(b"a"), b"a");
        assert_eq!(directory.resolve(b"/x/../a//b/./c"), b"/a/b/c");
        directory.named(b"257 \"/home/\"\"q\"\" b\" is the current directory");
        assert_eq!(directory.resolve(b"f"), b"/home/\"q\" b/f");
        directory.entered(&directory.resolve(b"../pub"));
        assert_eq!(directory.resolve(b"f"), b"/home/pub/f");
        assert_eq!(directory.resolve(b".././/a/../f/"), b"/home/f");
        directory.entered(&directory.resolve(b"../../../.."));
        assert_eq!(directory.resolve(b"f"), b"/f");
        assert_eq!(directory.resolve(b".."), b"/");
        directory.named(b"257 nothing quoted");
        assert_eq!(directory.resolve(b"f"), b"/f");
        directory.forget();
        assert_eq!(directory.resolve(b"f"), b"f");
    }
}
