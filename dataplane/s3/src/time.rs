//! The four spellings of time in S3: `x-amz-date`, ISO 8601 in documents, HTTP dates in headers, seconds in between.
//!
//! All are proleptic Gregorian UTC, years 0 to 9999, without leap seconds, as RFC 9110 and POSIX have it.

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Seconds in a day.
const DAY: i64 = 86_400;
/// 9999-12-31T23:59:59Z: later times are printed as this, because every format here has four digits for the year.
const LAST: i64 = 253_402_300_799;
/// 0000-01-01T00:00:00Z.
const FIRST: i64 = -62_167_219_200;

/// A civil date and time of day in UTC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Civil {
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl Civil {
    /// From seconds since the epoch, after H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    fn from_unix(seconds: i64) -> Self {
        let seconds = seconds.clamp(FIRST, LAST);
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY) as u32);
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
        Self {
            year: yoe + era * 400 + i64::from(month <= 2),
            month,
            day: (doy - (153 * mp + 2) / 5 + 1) as u32,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// To seconds since the epoch; `None` when a field is out of its range. A leap second counts as the one before.
    fn to_unix(self) -> Option<i64> {
        let leap = (self.year % 4 == 0 && self.year % 100 != 0) || self.year % 400 == 0;
        let days = match self.month {
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u32::from(leap),
            1..=12 => 31,
            _ => return None,
        };
        if self.day == 0
            || self.day > days
            || self.hour > 23
            || self.minute > 59
            || self.second > 60
        {
            return None;
        }
        let y = self.year - i64::from(self.month <= 2);
        let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
        let m = i64::from(self.month);
        let doy = (153 * (if m > 2 { m - 3 } else { m + 9 }) + 2) / 5 + i64::from(self.day) - 1;
        let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
        let time = i64::from(self.hour * 3600 + self.minute * 60 + self.second.min(59));
        Some((era * 146_097 + doe - 719_468) * DAY + time)
    }
}

/// Decimal digits of fixed width; `None` for anything else.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |n, d| {
        d.is_ascii_digit().then(|| n * 10 + u32::from(d - b'0'))
    })
}

fn two(out: &mut [u8], n: u32) {
    out[0] = b'0' + (n / 10 % 10) as u8;
    out[1] = b'0' + (n % 10) as u8;
}

/// `x-amz-date`: `20130524T000000Z`.
pub fn amz_date(unix_seconds: i64) -> [u8; 16] {
    let c = Civil::from_unix(unix_seconds);
    let mut out = *b"00000000T000000Z";
    two(&mut out[0..], c.year as u32 / 100);
    two(&mut out[2..], c.year as u32);
    two(&mut out[4..], c.month);
    two(&mut out[6..], c.day);
    two(&mut out[9..], c.hour);
    two(&mut out[11..], c.minute);
    two(&mut out[13..], c.second);
    out
}

/// Parses `20130524T000000Z` to seconds since the epoch.
pub fn parse_amz_date(value: &[u8]) -> Option<i64> {
    let v: &[u8; 16] = value.try_into().ok()?;
    if v[8] != b'T' || v[15] != b'Z' {
        return None;
    }
    Civil {
        year: i64::from(number(&v[0..4])?),
        month: number(&v[4..6])?,
        day: number(&v[6..8])?,
        hour: number(&v[9..11])?,
        minute: number(&v[11..13])?,
        second: number(&v[13..15])?,
    }
    .to_unix()
}

/// ISO 8601 with milliseconds, as S3's documents have it: `2009-10-12T17:50:30.000Z`.
pub fn iso8601(unix_millis: i64) -> String {
    String::from_utf8_lossy(&iso8601_bytes(unix_millis)).into_owned()
}

/// The same without an allocation.
pub(crate) fn iso8601_bytes(unix_millis: i64) -> [u8; 24] {
    let c = Civil::from_unix(unix_millis.div_euclid(1000));
    let millis = unix_millis.rem_euclid(1000) as u32;
    let mut out = *b"0000-00-00T00:00:00.000Z";
    two(&mut out[0..], c.year as u32 / 100);
    two(&mut out[2..], c.year as u32);
    two(&mut out[5..], c.month);
    two(&mut out[8..], c.day);
    two(&mut out[11..], c.hour);
    two(&mut out[14..], c.minute);
    two(&mut out[17..], c.second);
    two(&mut out[20..], millis / 10);
    out[22] = b'0' + (millis % 10) as u8;
    out
}

/// Reads many dates in S3's form: those of a day after one another are read with little work.
#[derive(Debug, Default)]
pub(crate) struct DateReader {
    /// The date read last, and its midnight in milliseconds since the epoch.
    last: ([u8; 10], i64),
}

impl DateReader {
    /// As [`parse_iso8601`].
    pub(crate) fn parse(&mut self, value: &str) -> Option<i64> {
        self.usual(value.as_bytes())
            .or_else(|| parse_iso8601(value))
    }

    /// The same of the usual forms alone.
    pub(crate) fn usual(&mut self, value: &[u8]) -> Option<i64> {
        let time = time_of_day(value)?;
        let date: [u8; 10] = *value.first_chunk()?;
        if date != self.last.0 {
            let midnight = parse_iso8601(std::str::from_utf8(value).ok()?)? - time;
            self.last = (date, midnight);
        }
        Some(self.last.1 + time)
    }
}

/// Milliseconds since midnight in `2009-10-12T17:50:30[.000]Z`, whatever the date; `None` for all other forms, and for
/// leap seconds.
fn time_of_day(v: &[u8]) -> Option<i64> {
    let (v, millis) = match v {
        [v @ .., b'.', a, b, c, b'Z'] if v.len() == 19 => (v, [*a, *b, *c]),
        [v @ .., b'Z'] if v.len() == 19 => (v, *b"000"),
        _ => return None,
    };
    let [
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        b'T',
        h1,
        h2,
        b':',
        m1,
        m2,
        b':',
        s1,
        s2,
    ] = *v
    else {
        return None;
    };
    let [a, b, c] = millis;
    let digits = [h1, h2, m1, m2, s1, s2, a, b, c].map(|d| d.wrapping_sub(b'0'));
    if digits.iter().any(|d| *d > 9) {
        return None;
    }
    let [h1, h2, m1, m2, s1, s2, a, b, c] = digits.map(u32::from);
    let (hour, minute, second) = (h1 * 10 + h2, m1 * 10 + m2, s1 * 10 + s2);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = (hour * 60 + minute) * 60 + second;
    Some(i64::from(seconds * 1000 + a * 100 + b * 10 + c))
}

/// Writes many dates in S3's form.
#[derive(Debug)]
pub(crate) struct DateWriter {
    /// The first millisecond of the day written last, since the epoch, and any time of that day.
    last: (i64, [u8; 24]),
}

impl Default for DateWriter {
    fn default() -> Self {
        Self {
            last: (0, *b"1970-01-01T00:00:00.000Z"),
        }
    }
}

impl DateWriter {
    /// As [`iso8601`].
    pub(crate) fn write(&mut self, unix_millis: i64) -> [u8; 24] {
        let time = unix_millis.wrapping_sub(self.last.0);
        if !(0..DAY * 1000).contains(&time) {
            let text = iso8601_bytes(unix_millis);
            // Days that are none are printed as another one's.
            if (FIRST * 1000..=LAST * 1000).contains(&unix_millis) {
                self.last = (unix_millis - unix_millis.rem_euclid(DAY * 1000), text);
            }
            return text;
        }
        let (seconds, millis) = (time as u32 / 1000, time as u32 % 1000);
        let minutes = seconds / 60;
        let pair = |n: u32| [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        let mut out = self.last.1;
        out[11..13].copy_from_slice(&pair(minutes / 60));
        out[14..16].copy_from_slice(&pair(minutes % 60));
        out[17..19].copy_from_slice(&pair(seconds % 60));
        out[20..22].copy_from_slice(&pair(millis / 10));
        out[22] = b'0' + (millis % 10) as u8;
        out
    }
}

/// ISO 8601 in whole seconds, as in S3's error documents: `2009-10-12T17:50:30Z`.
pub fn iso8601_seconds(unix_seconds: i64) -> String {
    let mut s = iso8601(unix_seconds.saturating_mul(1000));
    s.replace_range(19..23, "");
    s
}

/// Parses ISO 8601 (`2009-10-12T17:50:30[.fraction](Z|±hh:mm)`) to milliseconds since the epoch.
pub fn parse_iso8601(value: &str) -> Option<i64> {
    let v = value.trim().as_bytes();
    if v.len() < 20 || v[4] != b'-' || v[7] != b'-' || !matches!(v[10], b'T' | b't' | b' ') {
        return None;
    }
    if v[13] != b':' || v[16] != b':' {
        return None;
    }
    let seconds = Civil {
        year: i64::from(number(&v[0..4])?),
        month: number(&v[5..7])?,
        day: number(&v[8..10])?,
        hour: number(&v[11..13])?,
        minute: number(&v[14..16])?,
        second: number(&v[17..19])?,
    }
    .to_unix()?;
    let mut rest = &v[19..];
    let mut millis = 0;
    if let [b'.', tail @ ..] = rest {
        let digits = tail.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        for digit in tail[..digits].iter().chain(b"00").take(3) {
            millis = millis * 10 + i64::from(digit - b'0');
        }
        rest = &tail[digits..];
    }
    let offset = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (h, m) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if h > 23 || m > 59 {
                return None;
            }
            let seconds = i64::from(h * 3600 + m * 60);
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    Some((seconds - offset) * 1000 + millis)
}

/// IMF-fixdate of RFC 9110 §5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(unix_seconds: i64) -> String {
    let c = Civil::from_unix(unix_seconds);
    let weekday = WEEKDAYS[unix_seconds
        .clamp(FIRST, LAST)
        .div_euclid(DAY)
        .rem_euclid(7) as usize];
    let month = MONTHS[c.month as usize - 1];
    let mut text = String::with_capacity(29);
    text.push_str(weekday);
    text.push_str(", ");
    push_padded(&mut text, i64::from(c.day), 2);
    text.push(' ');
    text.push_str(month);
    text.push(' ');
    push_padded(&mut text, c.year, 4);
    for (before, n) in [(' ', c.hour), (':', c.minute), (':', c.second)] {
        text.push(before);
        push_padded(&mut text, i64::from(n), 2);
    }
    text.push_str(" GMT");
    text
}

/// Appends `n` with exactly `digits` digits; every answer has a date, and the formatting machinery is slow.
fn push_padded(out: &mut String, n: i64, digits: u32) {
    for place in (0..digits).rev() {
        let digit = n / 10_i64.pow(place) % 10;
        out.push(char::from(b'0' + digit as u8));
    }
}

/// Parses an HTTP date in each of the three forms of RFC 9110 §5.6.7, and ISO 8601, which S3 also takes in headers.
pub fn parse_http_date(value: &str) -> Option<i64> {
    let value = value.trim();
    if value.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        let basic = parse_amz_date(value.as_bytes());
        return basic.or_else(|| parse_iso8601(value).map(|ms| ms.div_euclid(1000)));
    }
    match value.split_once(',') {
        // rfc850-date: `Sunday, 06-Nov-94 08:49:37 GMT`.
        Some((_, rest)) if rest.contains('-') => {
            let mut words = rest.split_ascii_whitespace();
            let mut date = words.next()?.split('-');
            let (day, month, year) = (date.next()?, date.next()?, date.next()?);
            let mut full: i64 = i64::from(number(year.as_bytes())?);
            if year.len() == 2 {
                // Two digits: RFC 9110 has a year more than 50 years ahead mean the past; no S3 store is older than 1970.
                full += if full < 70 { 2000 } else { 1900 };
            }
            let time = words.next()?;
            gmt(words.next()?)?;
            from_words(full, month, day, time)
        }
        // IMF-fixdate.
        Some((_, rest)) => {
            let mut words = rest.split_ascii_whitespace();
            let (day, month, year) = (words.next()?, words.next()?, words.next()?);
            let time = words.next()?;
            gmt(words.next()?)?;
            from_words(i64::from(number(four(year)?)?), month, day, time)
        }
        // asctime: `Sun Nov  6 08:49:37 1994`.
        None => {
            let mut words = value.split_ascii_whitespace().skip(1);
            let (month, day, time, year) =
                (words.next()?, words.next()?, words.next()?, words.next()?);
            from_words(i64::from(number(four(year)?)?), month, day, time)
        }
    }
}

fn four(year: &str) -> Option<&[u8]> {
    (year.len() == 4).then_some(year.as_bytes())
}

fn gmt(zone: &str) -> Option<()> {
    matches!(zone, "GMT" | "UTC" | "+0000" | "-0000").then_some(())
}

fn from_words(year: i64, month: &str, day: &str, time: &str) -> Option<i64> {
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(month))? as u32 + 1;
    let t = time.as_bytes();
    if t.len() != 8 || t[2] != b':' || t[5] != b':' || day.is_empty() || day.len() > 2 {
        return None;
    }
    Civil {
        year,
        month,
        day: number(day.as_bytes())?,
        hour: number(&t[0..2])?,
        minute: number(&t[3..5])?,
        second: number(&t[6..8])?,
    }
    .to_unix()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        assert_eq!(&amz_date(1_369_353_600), b"20130524T000000Z");
        assert_eq!(parse_amz_date(b"20130524T000000Z"), Some(1_369_353_600));
        assert_eq!(iso8601(1_255_369_830_007), "2009-10-12T17:50:30.007Z");
        assert_eq!(iso8601_seconds(1_255_369_830), "2009-10-12T17:50:30Z");
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn every_form_of_an_http_date() {
        for form in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "1994-11-06T08:49:37Z",
            "1994-11-06T10:49:37.5+02:00",
            "19941106T084937Z",
        ] {
            assert_eq!(parse_http_date(form), Some(784_111_777), "{form}");
        }
        for bad in [
            "",
            "x",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 PST",
            "19941306T084937Z",
            "1994-11-06",
            "\u{e9}994-11-06T08:49:37Z",
        ] {
            assert_eq!(parse_http_date(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn all_formats_round_trip(t in FIRST..=LAST, ms in 0i64..1000) {
            prop_assert_eq!(parse_amz_date(&amz_date(t)), Some(t));
            prop_assert_eq!(parse_iso8601(&iso8601(t * 1000 + ms)), Some(t * 1000 + ms));
            prop_assert_eq!(parse_http_date(&http_date(t)), Some(t));
        }

        #[test]
        fn many_dates_are_as_each_alone(
            times in proptest::collection::vec(prop_oneof![Just(0i64), -5i64..=5, Just(FIRST), Just(LAST), Just(LAST + 1), any::<i32>().prop_map(i64::from)], 1..8),
            offsets in proptest::collection::vec(-200_000_000i64..200_000_000, 8),
            odd in proptest::collection::vec("[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9]([.][0-9]{3}|[.][0-9]{6}|)(Z|[+]01:00|x)", 0..8),
        ) {
            let (mut writer, mut reader) = (DateWriter::default(), DateReader::default());
            let mut texts = Vec::new();
            for (t, offset) in times.iter().zip(offsets) {
                for ms in [t * 1000, t * 1000 + offset % 1000, t * 1000 + offset] {
                    prop_assert_eq!(writer.write(ms), iso8601_bytes(ms), "{}", ms);
                    texts.push(iso8601(ms));
                }
            }
            for (i, odd) in odd.into_iter().enumerate() {
                // A date as another of the same form, once more, and as one that is no date at all.
                texts.push(odd.clone());
                texts.push(odd.replacen("T00", "T01", 1));
                texts.insert(i, odd);
            }
            for text in texts {
                prop_assert_eq!(reader.parse(&text), parse_iso8601(&text), "{}", text);
            }
        }

        #[test]
        fn parsers_never_panic(s in "\\PC{0,40}", b in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = (parse_http_date(&s), parse_iso8601(&s), parse_amz_date(&b));
        }
    }
}
