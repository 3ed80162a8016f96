//! Turns successive pages of a screen into a stream of new text, like that of a serial port. Rows that fill the
//! screen's width are joined with the next one. Where more was printed between two pages than the buffer keeps, lines
//! are lost: nothing that must arrive intact may rely on the stream alone (see [`crate::guest`]'s pages).

use super::page::{COLUMNS, Page, ROWS};

/// Remembers the last page.
#[derive(Debug, Default)]
pub(super) struct Follower {
    last: Option<Page>,
    /// What was returned of the row with the cursor.
    shown: String,
}

impl Follower {
    /// Returns the text that is new in `page`.
    pub(super) fn follow(&mut self, page: &Page) -> String {
        let place = match &self.last {
            Some(last) if last == page => return String::new(),
            Some(last) => self.place(last, page),
            None => (0..ROWS.cast_signed()).find(|row| !page.row(*row).trim().is_empty()),
        };
        let text = match (place, &self.last) {
            (Some(place), _) if place <= end(page).0 => self.continue_at(place, page),
            (_, last) => {
                let text = changed_rows(last.as_ref(), page);
                self.shown = row_to_cursor(page);
                text
            }
        };
        self.last = Some(page.clone());
        text
    }

    /// Returns the row to which the last page's cursor row has moved.
    fn place(&self, last: &Page, page: &Page) -> Option<isize> {
        let (cursor, _) = end(last);
        let same_above = |up: isize, from: isize| (from..cursor).all(|row| last.row(row) == page.row(row - up));
        // The window has moved through the buffer: what scrolled off the screen is still above it.
        let moved = page.start().checked_sub(last.start()).filter(|moved| *moved > 0);
        if let Some(moved) = moved.filter(|moved| moved % COLUMNS == 0) {
            let up = (moved / COLUMNS).cast_signed();
            if same_above(up, 0) {
                return Some(cursor - up);
            }
        }
        let continues = |row: isize| page.row(row).starts_with(self.shown.trim_end());
        let has_text = |from: isize| (from..cursor).any(|row| !last.row(row).trim().is_empty());
        let shown_has_text = !self.shown.trim().is_empty();
        let found = (0..=cursor)
            .find(|up| same_above(*up, *up) && continues(cursor - up) && (*up == 0 || shown_has_text || has_text(*up)));
        // The line itself was changed, e.g. erased.
        let erased = || (0..=cursor).find(|up| same_above(*up, *up) && has_text(*up));
        found.or_else(erased).map(|up| cursor - up)
    }

    /// Returns the new text from row `place`, which begins with what was shown, to the cursor.
    fn continue_at(&mut self, place: isize, page: &Page) -> String {
        let (cursor, _) = end(page);
        let mut text = String::new();
        for row in place..=cursor {
            let whole = if row == cursor {
                row_to_cursor(page)
            } else {
                page.row(row).trim_end().to_owned()
            };
            if row > place {
                if page.row(row - 1).ends_with(' ') {
                    text.push('\n');
                }
                text.push_str(&whole);
            } else if let Some(more) = whole.strip_prefix(&self.shown) {
                text.push_str(more);
            } else if whole != self.shown.trim_end() {
                text.push('\n');
                text.push_str(&whole);
            }
        }
        self.shown = row_to_cursor(page);
        text
    }
}

/// Returns row and column of the cursor; where it is hidden, those of the end of the text.
fn end(page: &Page) -> (isize, usize) {
    if let Some((row, column)) = page.cursor() {
        return (row.cast_signed(), column);
    }
    let rows = page.rows();
    let last = rows.iter().rposition(|row| !row.is_empty()).unwrap_or(0);
    (last.cast_signed(), rows[last].chars().count())
}

/// Returns the cursor's row with the blanks before the cursor and without those behind it.
fn row_to_cursor(page: &Page) -> String {
    let (row, column) = end(page);
    let row = page.row(row);
    row.chars().take(column.max(row.trim_end().chars().count())).collect()
}

/// Returns the rows of a redrawn screen that were not on it before, the cursor's row last.
fn changed_rows(last: Option<&Page>, page: &Page) -> String {
    let (cursor, _) = end(page);
    let mut text = "\n".to_owned();
    // A row that was anywhere on the screen is not new: the lines that begin a boot must not count twice.
    let before = last.map(Page::rows).unwrap_or_default();
    for row in (0..ROWS.cast_signed()).filter(|row| *row != cursor) {
        let now = page.row(row).trim_end().to_owned();
        if !now.is_empty() && !before.contains(&now) {
            text.push_str(&now);
            text.push('\n');
        }
    }
    text + &row_to_cursor(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::vga::page::MEMORY;

    /// A terminal that scrolls as Linux's vgacon does: by moving its window, and back to the buffer's beginning when
    /// its end is reached; or, with `in_place`, by moving the text.
    struct Terminal {
        cells: Vec<u8>,
        start: usize,
        cursor: usize,
        in_place: bool,
    }

    impl Terminal {
        fn new(in_place: bool) -> Self {
            Self {
                cells: vec![b' '; MEMORY / 2],
                start: 0,
                cursor: 0,
                in_place,
            }
        }

        fn print(&mut self, text: &str) {
            for byte in text.bytes() {
                match byte {
                    b'\n' => self.cursor = (self.cursor / COLUMNS + 1) * COLUMNS,
                    byte => {
                        self.scroll();
                        self.cells[self.start + self.cursor] = byte;
                        self.cursor += 1;
                    }
                }
                self.scroll();
            }
        }

        fn scroll(&mut self) {
            const SCREEN: usize = ROWS * COLUMNS;
            if self.cursor < SCREEN {
                return;
            }
            self.cursor -= COLUMNS;
            let next = self.start + COLUMNS;
            if self.in_place || next + SCREEN > self.cells.len() {
                let rows = self.cells[next..(next + SCREEN - COLUMNS)].to_vec();
                self.start = 0;
                self.cells[..rows.len()].copy_from_slice(&rows);
            } else {
                self.start = next;
            }
            let last = self.start + SCREEN - COLUMNS;
            self.cells[last..last + COLUMNS].fill(b' ');
        }

        fn page(&self) -> Page {
            let memory: Vec<u8> = self.cells.iter().flat_map(|cell| [*cell, 7]).collect();
            let (start, cursor) = (self.start, self.start + self.cursor);
            Page::new(&memory, start.try_into().unwrap(), cursor.try_into().unwrap())
        }
    }

    /// Returns the text that a follower extracts from `pieces`, with a page after each.
    fn followed(in_place: bool, pieces: impl IntoIterator<Item = String>) -> String {
        let (mut terminal, mut follower) = (Terminal::new(in_place), Follower::default());
        let mut text = String::new();
        for piece in pieces {
            terminal.print(&piece);
            text.push_str(&follower.follow(&terminal.page()));
        }
        text
    }

    #[test]
    fn lines_are_returned_once_and_in_order_however_they_scroll() {
        for in_place in [false, true] {
            for lines_per_page in [1, 2, 7, 20] {
                let lines: Vec<String> = (0..1000).map(|number| format!("line {number}\n")).collect();
                let pieces = lines.chunks(lines_per_page).map(<[String]>::concat);
                assert_eq!(
                    followed(in_place, pieces),
                    lines.concat(),
                    "{in_place} {lines_per_page}"
                );
            }
        }
    }

    #[test]
    fn lines_that_scrolled_off_are_read_from_the_buffer_above_the_screen() {
        let lines: Vec<String> = (0..150).map(|number| format!("line {number}\n")).collect();
        let pieces = ["begin\n".to_owned(), lines.concat()];
        assert_eq!(followed(false, pieces), format!("begin\n{}", lines.concat()));
    }

    #[test]
    fn an_unfinished_line_grows_and_wraps() {
        let pieces = ["~ # ", "ech", "o a ", &"b".repeat(150), "\na b\n~ # "].map(str::to_owned);
        let wanted = pieces.concat();
        assert_eq!(followed(false, pieces.clone()), wanted);
        assert_eq!(followed(true, pieces), wanted);
    }

    #[test]
    fn an_erased_line_is_returned_again() {
        let (mut terminal, mut follower) = (Terminal::new(false), Follower::default());
        terminal.print("hello\n~ # ls -l");
        follower.follow(&terminal.page());
        terminal.cells[COLUMNS + 4..COLUMNS + 9].fill(b' ');
        terminal.cursor = COLUMNS + 4;
        assert_eq!(follower.follow(&terminal.page()), "\n~ # ");
    }

    #[test]
    fn a_redrawn_screen_returns_what_changed() {
        let (mut terminal, mut follower) = (Terminal::new(false), Follower::default());
        terminal.print("menu\nboots in 5 s\nnothing else\n");
        follower.follow(&terminal.page());
        terminal.cells[COLUMNS + 9] = b'4';
        assert_eq!(follower.follow(&terminal.page()), "\nboots in 4 s\n");
        let mut cleared = Terminal::new(false);
        cleared.print("Linux\n");
        assert_eq!(follower.follow(&cleared.page()), "\nLinux\n");
    }

    #[test]
    fn the_first_page_returns_its_text() {
        assert_eq!(followed(false, ["\n\na\nb\n~ # ".to_owned()]), "a\nb\n~ # ");
    }
}
