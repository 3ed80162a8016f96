//! The content of a VGA text screen at one moment.

/// Characters in a row.
pub const COLUMNS: usize = 80;
/// Rows on the screen.
pub const ROWS: usize = 25;
/// Bytes of the text buffer, from physical address 0xB8000.
pub const MEMORY: usize = 32 * 1024;
/// Cells in it: a character and its attribute each.
const CELLS: usize = MEMORY / 2;

/// The text on the screen, and above it in the buffer through which the screen's window moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Every cell's character.
    cells: Vec<u8>,
    /// The screen's first cell.
    start: usize,
    /// The cell of the cursor.
    cursor: usize,
}

impl Page {
    /// Builds a page from the text buffer and the CRT controller's start address (registers 12 and 13) and cursor (14
    /// and 15). What `memory` lacks to [`MEMORY`] bytes is blank.
    pub fn new(memory: &[u8], start: u16, cursor: u16) -> Self {
        let mut cells: Vec<u8> = memory.chunks(2).take(CELLS).map(|cell| cell[0]).collect();
        cells.resize(CELLS, 0);
        Self {
            cells,
            start: usize::from(start) % CELLS,
            cursor: usize::from(cursor) % CELLS,
        }
    }

    /// Returns where in the buffer the screen begins, in cells.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Returns the cursor's row and column; `None` when it is off the screen, i.e. hidden.
    pub fn cursor(&self) -> Option<(usize, usize)> {
        let place = (self.cursor + CELLS - self.start) % CELLS;
        (place < ROWS * COLUMNS).then_some((place / COLUMNS, place % COLUMNS))
    }

    /// Returns the cursor's position in the buffer, in cells.
    pub(super) fn place(&self) -> usize {
        self.cursor
    }

    /// Returns a row with all its blanks; negative rows are those that have scrolled off the top.
    pub(super) fn row(&self, row: isize) -> String {
        let first = self.start.cast_signed() + row * COLUMNS.cast_signed();
        let cells = (first..).take(COLUMNS);
        cells
            .map(|cell| glyph(self.cells[cell.rem_euclid(CELLS.cast_signed()).cast_unsigned()]))
            .collect()
    }

    /// Returns the screen's rows without trailing blanks.
    pub fn rows(&self) -> Vec<String> {
        let rows = 0..ROWS.cast_signed();
        rows.map(|row| self.row(row).trim_end().to_owned()).collect()
    }

    /// Whether `text` immediately precedes the cursor, over as many rows as it takes.
    pub(super) fn ends_with(&self, text: &str) -> bool {
        let Some((row, column)) = self.cursor() else {
            return false;
        };
        let place = row * COLUMNS + column;
        let shown: Vec<char> = (0..ROWS.cast_signed())
            .flat_map(|row| self.row(row).chars().collect::<Vec<_>>())
            .collect();
        let ends_at = |end: usize| {
            let length = text.chars().count();
            end >= length && end <= shown.len() && shown[end - length..end].iter().copied().eq(text.chars())
        };
        // After the last column's character the cursor stays on it until the next one comes (VT100's wrap).
        ends_at(place) || (column == COLUMNS - 1 && ends_at(place + 1))
    }
}

/// Whether `text` is in the text buffer from cell `place` on. Where a screen scrolls by moving its window, text keeps
/// its place.
pub(super) fn is_at(memory: &[u8], place: usize, text: &str) -> bool {
    let cell = |cell: usize| memory.get(cell % CELLS * 2).copied().map(glyph);
    text.chars()
        .enumerate()
        .all(|(at, character)| cell(place + at) == Some(character))
}

/// The characters of the card's own font (code page 437) below 32 and from 127 on.
const LOW: &str = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";
const HIGH: &str = "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀\
                    αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";

fn glyph(cell: u8) -> char {
    match cell {
        0..32 => LOW.chars().nth(cell.into()).unwrap_or(' '),
        32..127 => char::from(cell),
        _ => HIGH.chars().nth(usize::from(cell) - 127).unwrap_or(' '),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_moves_through_the_buffer_and_around_its_end() {
        let mut memory = vec![0; MEMORY];
        let start = CELLS - 3;
        for (place, byte) in b"abcdef".iter().enumerate() {
            memory[(start + place) % CELLS * 2] = *byte;
        }
        let page = Page::new(&memory, start.try_into().unwrap(), 3);
        assert_eq!(page.rows()[0], "abcdef");
        assert_eq!(page.cursor(), Some((0, 6)));
        assert!(page.ends_with("abcdef") && page.ends_with("def") && !page.ends_with("abcde"));
    }

    #[test]
    fn every_byte_is_one_character() {
        let glyphs: Vec<char> = (0..=255).map(glyph).collect();
        assert_eq!(
            (glyphs[0], glyphs[65], glyphs[0x81], glyphs[0xff]),
            (' ', 'A', 'ü', ' ')
        );
        assert_eq!(LOW.chars().count(), 32);
        assert_eq!(HIGH.chars().count(), 129);
        assert!(glyphs.iter().all(|glyph| !glyph.is_control()));
    }

    #[test]
    fn text_that_fills_its_row_is_found_with_the_cursor_on_its_last_character() {
        let mut memory = vec![0; MEMORY];
        for cell in 0..COLUMNS {
            memory[cell * 2] = b'x';
        }
        assert!(Page::new(&memory, 0, 79).ends_with(&"x".repeat(80)));
        assert!(Page::new(&memory, 0, 80).ends_with(&"x".repeat(80)));
        assert!(!Page::new(&memory, 0, 78).ends_with(&"x".repeat(80)));
    }
}
