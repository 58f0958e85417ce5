//! The terminal: lines that stay, and below them a block that is redrawn in place.

use std::io::Write;

use super::words::{COLUMNS_MAX, cut, wrapped};

/// The terminal, or whatever stands in its place. Nobody has to read it, so what can't be written is left.
pub(super) struct Screen<'a> {
    out: &'a mut dyn Write,
    is_terminal: bool,
    /// Lines of the block on the terminal.
    block_lines: usize,
}

impl<'a> Screen<'a> {
    pub(super) fn new(out: &'a mut dyn Write, is_terminal: bool) -> Self {
        Self { out, is_terminal, block_lines: 0 }
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Sentences that stay, broken into lines; the block comes back below them.
    pub(super) fn say(&mut self, text: &str) {
        self.print(&wrapped(text, ""));
    }

    /// Lines that stay as they are: tables, addresses, commands.
    pub(super) fn print(&mut self, lines: &str) {
        let clear = self.clear_block();
        let _ = writeln!(self.out, "{clear}{lines}").and_then(|()| self.out.flush());
    }

    /// The same between lines, so that it is seen.
    pub(super) fn print_prominently(&mut self, line: &str) {
        let rule = "─".repeat(COLUMNS_MAX);
        self.print(&format!("\n{rule}\n  {line}\n{rule}\n"));
    }

    /// Draws the block anew. Nothing wraps, so every line of it stays one line on a narrow terminal too.
    pub(super) fn draw(&mut self, lines: &[String]) {
        let clear = self.clear_block();
        let text = lines.iter().map(|line| cut(line)).collect::<Vec<_>>().join("\n");
        let _ = writeln!(self.out, "{clear}\x1b[?7l{text}\x1b[?7h").and_then(|()| self.out.flush());
        self.block_lines = lines.len();
    }

    /// The control sequence that takes the block away.
    fn clear_block(&mut self) -> String {
        match std::mem::take(&mut self.block_lines) {
            0 => String::new(),
            lines => format!("\r\x1b[{lines}A\x1b[J"),
        }
    }
}
