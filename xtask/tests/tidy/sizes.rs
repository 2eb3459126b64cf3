//! How long a file and a function may be.

use syn::spanned::Spanned;
use syn::visit::Visit;

use super::source::Source;
use super::tree::Problem;

const FILE_LINES_MAX: usize = 400;
const TEST_FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Lengths of the file and of its functions.
pub fn check(source: &Source) -> Vec<Problem> {
    let mut visitor = Functions {
        path: &source.path,
        problems: Vec::new(),
    };
    visitor.visit_file(&source.items);
    let mut problems = visitor.problems;
    let lines = source.text.lines().count();
    let most = match source.is_test {
        true => TEST_FILE_LINES_MAX,
        false => FILE_LINES_MAX,
    };
    if lines > most {
        let what = format!("the file has {lines} lines, {most} are allowed: a noun is missing");
        problems.push(Problem::new(&source.path, most + 1, what));
    }
    problems
}

struct Functions<'a> {
    path: &'a str,
    problems: Vec<Problem>,
}

impl Functions<'_> {
    /// From the line of `fn` to the one of the closing brace.
    fn measure(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let lines = block.brace_token.span.close().end().line - first + 1;
        if lines > FUNCTION_LINES_MAX {
            let name = &signature.ident;
            let what = format!("`{name}` has {lines} lines, {FUNCTION_LINES_MAX} are allowed");
            self.problems.push(Problem::new(self.path, first, what));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.measure(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}
