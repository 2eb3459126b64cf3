//! The tidy test: what reviewers would otherwise have to look for, as an ordinary test.
//!
//! It reads the tracked files and reports every problem at once. `TIDY_ROOT` names another tree.

mod arrows;
mod lists;
mod manifests;
mod names;
mod phrases;
mod sizes;
mod source;
mod tests;
mod tree;

use tree::{Problem, Tree};

#[test]
fn the_tree_is_tidy() {
    let tree = Tree::open();
    let problems = check(&tree);
    let count = problems.len();
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert!(count == 0, "{count} problems:\n{}", lines.join("\n"));
}

/// Every problem of the tree, in the order of files and lines.
fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    let sources = source::read_all(tree, &mut problems);
    for source in &sources {
        problems.extend(arrows::check(source));
        problems.extend(sizes::check(source));
        problems.extend(names::check(source));
        problems.extend(phrases::check_rust(source));
    }
    problems.extend(names::check_paths(tree));
    problems.extend(phrases::check_texts(tree));
    problems.extend(manifests::check(tree));
    problems.extend(lists::check(tree, &sources));
    problems.sort();
    problems.dedup();
    problems
}
