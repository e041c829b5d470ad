//! `datetime.strftime`.

use time::PrimitiveDateTime;

/// `moment.strftime(format)` for a moment without a time zone, in the C locale, with the flags `-`, `_`, `0` and `^`.
/// A directive that does not exist is copied as it is.
pub(super) fn strftime(format: &str, moment: PrimitiveDateTime) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let directive = &rest[at + 1..];
        let flags = directive.len() - directive.trim_start_matches(['-', '_', '0', '^', '#']).len();
        let Some(letter) = directive[flags..].chars().next() else {
            rest = &rest[at..];
            break;
        };
        let end = at + 1 + flags + letter.len_utf8();
        match expand(letter, directive[..flags].chars().last(), moment) {
            Some(text) => out.push_str(&text),
            None => out.push_str(&rest[at..end]),
        }
        rest = &rest[end..];
    }
    out + rest
}

fn expand(letter: char, flag: Option<char>, t: PrimitiveDateTime) -> Option<String> {
    // A number in the width and with the padding that the directive has, unless a flag says otherwise.
    let padded = |value: i64, width: usize, default: char| match flag.unwrap_or(default) {
        '-' => value.to_string(),
        '_' => format!("{value:width$}"),
        '0' => format!("{value:0width$}"),
        _ if default == '_' => format!("{value:width$}"),
        _ => format!("{value:0width$}"),
    };
    let number = |value: i64, width: usize| Some(padded(value, width, '0'));
    let word = |text: String, len: usize| {
        let text: String = text.chars().take(len).collect();
        Some(if flag == Some('^') { text.to_uppercase() } else { text })
    };
    let year = i64::from(t.year());
    let hour12 = i64::from((t.hour() + 11) % 12 + 1);
    let day_of_year = i64::from(t.ordinal());
    let from_monday = i64::from(t.weekday().number_days_from_monday());
    let from_sunday = i64::from(t.weekday().number_days_from_sunday());
    let (iso_year, iso_week, _) = t.to_iso_week_date();
    let again = |format: &str| Some(strftime(format, t));
    match letter {
        'Y' => Some(year.to_string()),
        'C' => number(year.div_euclid(100), 2),
        'y' => number(year.rem_euclid(100), 2),
        'm' => number(i64::from(u8::from(t.month())), 2),
        'B' => word(t.month().to_string(), usize::MAX),
        'b' | 'h' => word(t.month().to_string(), 3),
        'd' => number(i64::from(t.day()), 2),
        'e' => Some(padded(i64::from(t.day()), 2, '_')),
        'j' => number(day_of_year, 3),
        'A' => word(t.weekday().to_string(), usize::MAX),
        'a' => word(t.weekday().to_string(), 3),
        'u' => number(from_monday + 1, 1),
        'w' => number(from_sunday, 1),
        'U' => number((day_of_year + 6 - from_sunday) / 7, 2),
        'W' => number((day_of_year + 6 - from_monday) / 7, 2),
        'V' => number(i64::from(iso_week), 2),
        'G' => Some(iso_year.to_string()),
        'g' => number(i64::from(iso_year).rem_euclid(100), 2),
        'H' => number(i64::from(t.hour()), 2),
        'k' => Some(padded(i64::from(t.hour()), 2, '_')),
        'I' => number(hour12, 2),
        'l' => Some(padded(hour12, 2, '_')),
        'M' => number(i64::from(t.minute()), 2),
        'S' => number(i64::from(t.second()), 2),
        'f' => Some(format!("{:06}", t.microsecond())),
        'p' => word(if t.hour() < 12 { "AM" } else { "PM" }.into(), 2),
        'P' => Some(if t.hour() < 12 { "am" } else { "pm" }.into()),
        'D' | 'x' => again("%m/%d/%y"),
        'F' => again("%Y-%m-%d"),
        'T' | 'X' => again("%H:%M:%S"),
        'R' => again("%H:%M"),
        'r' => again("%I:%M:%S %p"),
        'c' => again("%a %b %e %H:%M:%S %Y"),
        // A moment without a time zone has neither name nor offset.
        'Z' | 'z' => Some(String::new()),
        'n' => Some("\n".into()),
        't' => Some("\t".into()),
        '%' => Some("%".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn dates_print_as_in_python() {
        let moment = datetime!(2024-07-09 08:05:03.000_042);
        for (format, text) in [
            ("%d %b %Y", "09 Jul 2024"),
            ("%B %-d, %Y", "July 9, 2024"),
            ("%A %a %j %U %W %V %G %u %w", "Tuesday Tue 191 27 28 28 2024 2 2"),
            ("%Y-%m-%dT%H:%M:%S.%f%z", "2024-07-09T08:05:03.000042"),
            ("%I:%M %p|%l|%e|%_d|%^a|%c", "08:05 AM| 8| 9| 9|TUE|Tue Jul  9 08:05:03 2024"),
            ("%D %F %T %R %x %X %y %%", "07/09/24 2024-07-09 08:05:03 08:05 07/09/24 08:05:03 24 %"),
            ("100%", "100%"),
            ("%-", "%-"),
            ("%Q é %é", "%Q é %é"),
        ] {
            assert_eq!(strftime(format, moment), text, "{format}");
        }
    }
}
