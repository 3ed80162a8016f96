//! Maps characters to keys of a US keyboard. Codes are those of linux/input-event-codes.h.

/// Left shift.
const SHIFT: u32 = 42;
/// Left control.
const CTRL: u32 = 29;
/// Left alt.
const ALT: u32 = 56;
/// Enter.
const ENTER: u32 = 28;

/// The rows of the keyboard: the first key's code, and what the keys type without and with shift.
const ROWS: [(u32, &str, &str); 5] = [
    (2, "1234567890-=", "!@#$%^&*()_+"),
    (16, "qwertyuiop[]", "QWERTYUIOP{}"),
    (30, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    (43, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    (57, " ", " "),
];

/// The key of one character and what is held with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chord {
    /// Shift, control or alt.
    pub held: Option<u32>,
    /// The key.
    pub key: u32,
}

impl Chord {
    /// Returns all codes, in the order of pressing.
    pub fn codes(self) -> Vec<u32> {
        self.held.into_iter().chain([self.key]).collect()
    }
}

/// Returns the keys for `character`: printable ASCII, and the control characters of control and a letter, Enter, tab,
/// backspace and escape. `None` for everything else.
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

/// Returns the key for what a terminal sends after `ESC [` or `ESC O` (xterm's control sequences), e.g. `A` for the
/// up arrow, `3~` for delete.
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

/// Returns the keys for `ESC` and a character: the character with alt.
pub fn with_alt(chord: Chord) -> Vec<u32> {
    [ALT].into_iter().chain(chord.codes()).collect()
}

/// Shift alone: releases it in a guest that missed its release.
pub(super) const RELEASE_SHIFT: [u32; 1] = [SHIFT];

/// Bytes of pressing and releasing one key in the keyboard's queue (PS/2 set 1, without extended keys).
const BYTES_PER_KEY: usize = 2;
/// QEMU's PS/2 keyboard queues 16 bytes until the guest fetches them and drops the rest (hw/input/ps2.c,
/// PS2_QUEUE_SIZE). Ten in one burst, with the five releases of the burst before, always fit.
const BYTES_PER_BURST: usize = 10;

/// Keys that are pressed at once: how many characters they type, and the chords.
pub(super) type Burst = (usize, Vec<Vec<u32>>);

/// Splits `text` into bursts: after each the guest must have echoed it, so that no key is lost. The error is the
/// character that cannot be typed.
pub(super) fn bursts(text: &str) -> Result<Vec<Burst>, char> {
    let mut bursts: Vec<Burst> = Vec::new();
    let mut bytes = BYTES_PER_BURST;
    let mut held_before = None;
    for character in text.chars() {
        let printable = Some(character).filter(|one| !one.is_control());
        let Chord { held, key } = printable.and_then(chord).ok_or(character)?;
        let joins = |chords: &Vec<Vec<u32>>| {
            let last = chords.last();
            held == held_before && last.is_some_and(|last| !last.contains(&key))
        };
        let mut new_chord = !bursts.last().is_some_and(|(_, chords)| joins(chords));
        let mut need = BYTES_PER_KEY * (1 + usize::from(new_chord && held.is_some()));
        if bytes + need > BYTES_PER_BURST {
            bursts.push((0, Vec::new()));
            (bytes, new_chord) = (0, true);
            need = BYTES_PER_KEY * (1 + usize::from(held.is_some()));
        }
        bytes += need;
        held_before = held;
        if let Some((characters, chords)) = bursts.last_mut() {
            *characters += 1;
            if new_chord {
                chords.push(held.into_iter().collect());
            }
            if let Some(last) = chords.last_mut() {
                last.push(key);
            }
        }
    }
    Ok(bursts)
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
    fn characters_that_a_us_keyboard_lacks_are_refused() {
        assert_eq!(bursts("für"), Err('ü'));
        assert_eq!(bursts("a\tb"), Err('\t'));
    }

    /// The text that a keyboard driver reads from chords.
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
        fn bursts_type_the_text_and_never_overflow_the_keyboards_queue(text in "[ -~]{0,200}") {
            let mut rest = text.as_str();
            for (characters, chords) in bursts(&text).unwrap() {
                let codes: usize = chords.iter().map(Vec::len).sum();
                prop_assert!(codes * BYTES_PER_KEY <= BYTES_PER_BURST);
                prop_assert_eq!(&typed(&chords), &rest[..characters]);
                rest = &rest[characters..];
            }
            prop_assert_eq!(rest, "");
        }
    }
}
