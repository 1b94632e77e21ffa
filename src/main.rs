//! The `portcullis` program: reads its arguments and leaves the rest to the library.

fn main() {}
