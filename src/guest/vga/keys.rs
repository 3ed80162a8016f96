//! Characters as keys of a US keyboard. Codes are those of linux/input-event-codes.h.

/// Left shift.
const SHIFT: u32 = 42;
/// Left control.
const CTRL: u32 = 29;
/// Left alt.
const ALT: u32 = 56;
/// Enter.
const ENTER: u32 = 28;

/// The rows of the keyboard: the first key's code, and what the keys give without and with shift.
const ROWS: [(u32, &str, &str); 5] = [
    (2, "1234567890-=", "!@#$%^&*()_+"),
    (16, "qwertyuiop[]", "QWERTYUIOP{}"),
    (30, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    (43, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    (57, " ", " "),
];

/// The key for one character and what is held with it, in the order of pressing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chord {
    /// Shift, control or alt.
    pub held: Option<u32>,
    /// The key.
    pub key: u32,
}

impl Chord {
    /// All codes, in the order of pressing.
    pub fn codes(self) -> Vec<u32> {
        self.held.into_iter().chain([self.key]).collect()
    }
}

/// How `character` is typed: printable ASCII, and the control characters that a terminal makes of control and a
/// letter, of Enter, tab, backspace and escape. `None` for all that a US keyboard does not have.
pub fn chord(character: char) -> Option<Chord> {
    let plain = |key| Some(Chord { held: None, key });
    match character {
        '\n' | '\r' => return plain(ENTER),
        '\t' => return plain(15),
        '\x08' | '\x7f' => return plain(14),
        '\x1b' => return plain(1),
        '\x01'..='\x1a' => {
            let letter = char::from(character as u8 + b'a' - 1);
            return chord(letter).map(|chord| Chord {
                held: Some(CTRL),
                ..chord
            });
        }
        _ => {}
    }
    for (first, without, with) in ROWS {
        for (row, held) in [(without, None), (with, Some(SHIFT))] {
            if let Some(place) = row.chars().position(|one| one == character) {
                let key = first + u32::try_from(place).ok()?;
                return Some(Chord { held, key });
            }
        }
    }
    None
}

/// The key behind what a terminal sends after `ESC [` or `ESC O` (xterm's control sequences), e.g. `A` for the arrow
/// up, `3~` for delete.
pub fn named(sequence: &str) -> Option<u32> {
    Some(match sequence {
        "A" => 103,
        "B" => 108,
        "C" => 106,
        "D" => 105,
        "H" | "1~" | "7~" => 102,
        "F" | "4~" | "8~" => 107,
        "2~" => 110,
        "3~" => 111,
        "5~" => 104,
        "6~" => 109,
        "P" | "11~" => 59,
        "Q" | "12~" => 60,
        "R" | "13~" => 61,
        "S" | "14~" => 62,
        "15~" => 63,
        "17~" => 64,
        "18~" => 65,
        "19~" => 66,
        "20~" => 67,
        "21~" => 68,
        "23~" => 87,
        "24~" => 88,
        _ => return None,
    })
}

/// `ESC` and a character: the character with alt.
pub fn with_alt(chord: Chord) -> Vec<u32> {
    [ALT].into_iter().chain(chord.codes()).collect()
}

/// Shift alone: releases it in a guest that lost its release.
pub(super) const RELEASE_SHIFT: [u32; 1] = [SHIFT];

/// Bytes that pressing and releasing one key puts into the keyboard's queue (PS/2 set 1, without extended keys).
const BYTES_A_KEY: usize = 2;
/// QEMU's PS/2 keyboard keeps 16 bytes for a guest that does not fetch them and drops what comes then (hw/input/ps2.c,
/// PS2_QUEUE_SIZE). Ten in one go, with the five releases of the go before, always fit.
const BYTES_A_GO: usize = 10;

/// What is pressed in one go: how many characters that gives, and the chords.
pub(super) type Go = (usize, Vec<Vec<u32>>);

/// Cuts `text` into goes: after each the guest must have shown it, so that no key is ever lost. The character that
/// cannot be typed is the error.
pub(super) fn goes(text: &str) -> Result<Vec<Go>, char> {
    let mut goes: Vec<Go> = Vec::new();
    let mut bytes = BYTES_A_GO;
    let mut held_before = None;
    for character in text.chars() {
        let printable = Some(character).filter(|one| !one.is_control());
        let Chord { held, key } = printable.and_then(chord).ok_or(character)?;
        let joins = |chords: &Vec<Vec<u32>>| {
            let last = chords.last();
            held == held_before && last.is_some_and(|last| !last.contains(&key))
        };
        let mut new_chord = !goes.last().is_some_and(|(_, chords)| joins(chords));
        let mut need = BYTES_A_KEY * (1 + usize::from(new_chord && held.is_some()));
        if bytes + need > BYTES_A_GO {
            goes.push((0, Vec::new()));
            (bytes, new_chord) = (0, true);
            need = BYTES_A_KEY * (1 + usize::from(held.is_some()));
        }
        bytes += need;
        held_before = held;
        if let Some((characters, chords)) = goes.last_mut() {
            *characters += 1;
            if new_chord {
                chords.push(held.into_iter().collect());
            }
            if let Some(last) = chords.last_mut() {
                last.push(key);
            }
        }
    }
    Ok(goes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_printable_character_has_one_key() {
        let mut seen = std::collections::BTreeSet::new();
        for character in ' '..='~' {
            let chord = chord(character).unwrap();
            assert!(seen.insert(chord.codes()), "{character:?} shares its key");
        }
        assert_eq!(chord('a'), Some(Chord { held: None, key: 30 }));
        assert_eq!(chord('`').unwrap().key, 41);
        assert_eq!(chord('?').unwrap().codes(), [42, 53]);
        assert_eq!(chord('\x03').unwrap().codes(), [29, 46]);
        assert_eq!(chord('ü'), None);
    }

    #[test]
    fn what_no_us_keyboard_has_is_refused() {
        assert_eq!(goes("für"), Err('ü'));
        assert_eq!(goes("a\tb"), Err('\t'));
    }

    /// What a keyboard driver makes of chords.
    fn typed(chords: &[Vec<u32>]) -> String {
        let mut text = String::new();
        for chord in chords {
            let shift = chord[0] == SHIFT;
            for key in chord.iter().filter(|key| **key != SHIFT) {
                let is_it = |one: &char| {
                    let one = super::chord(*one).unwrap();
                    one.key == *key && one.held.is_some() == shift
                };
                text.extend((' '..='~').find(is_it));
            }
        }
        text
    }

    proptest! {
        #[test]
        fn goes_type_the_text_and_never_fill_the_keyboards_queue(text in "[ -~]{0,200}") {
            let mut rest = text.as_str();
            for (characters, chords) in goes(&text).unwrap() {
                let codes: usize = chords.iter().map(Vec::len).sum();
                prop_assert!(codes * BYTES_A_KEY <= BYTES_A_GO);
                prop_assert_eq!(&typed(&chords), &rest[..characters]);
                rest = &rest[characters..];
            }
            prop_assert_eq!(rest, "");
        }
    }
}
