/// Length of an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub const IMF_FIXDATE_LEN: usize = 29;

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// 9999-12-31T23:59:59Z: the last second that four digits of year can say.
const MAX_SECONDS: u64 = 253_402_300_799;

/// A `Date` header value (RFC 9110 section 5.6.7), kept as text so that a response costs a copy.
/// Keep one per core and [`update`](HttpDate::update) it before each response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HttpDate {
    seconds: u64,
    text: [u8; IMF_FIXDATE_LEN],
}

impl HttpDate {
    /// The date of `seconds` since 1970-01-01T00:00:00Z, not counting leap seconds. Times after
    /// the year 9999 are shown as its last second.
    pub fn at(seconds: u64) -> Self {
        HttpDate {
            seconds,
            text: imf_fixdate(seconds.min(MAX_SECONDS)),
        }
    }

    /// Makes this the date of `seconds`; formats only when that is another second.
    pub fn update(&mut self, seconds: u64) {
        if seconds != self.seconds {
            *self = HttpDate::at(seconds);
        }
    }

    /// The text, always [`IMF_FIXDATE_LEN`] ASCII bytes.
    pub const fn as_bytes(&self) -> &[u8; IMF_FIXDATE_LEN] {
        &self.text
    }
}

fn imf_fixdate(seconds: u64) -> [u8; IMF_FIXDATE_LEN] {
    let days = seconds / 86_400;
    let of_day = seconds % 86_400;
    let (year, month, day) = civil(days);
    let mut text = *b"Day, 00 Mon 0000 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[(days % 7) as usize]);
    digits(&mut text[5..7], day);
    text[8..11].copy_from_slice(MONTHS[month as usize - 1]);
    digits(&mut text[12..16], year);
    digits(&mut text[17..19], of_day / 3600);
    digits(&mut text[20..22], of_day / 60 % 60);
    digits(&mut text[23..25], of_day % 60);
    text
}

fn digits(out: &mut [u8], mut n: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

/// Year, month (1–12) and day (1–31) of a day since 1970-01-01, in the Gregorian calendar.
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
const fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + (month <= 2) as u64;
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seconds: u64) -> String {
        String::from_utf8(HttpDate::at(seconds).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn known_dates() {
        // RFC 9110 section 5.6.7's own example, then `date -u -d @N` for edges of the calendar.
        assert_eq!(text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(text(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(text(1_709_251_199), "Thu, 29 Feb 2024 23:59:59 GMT");
        assert_eq!(text(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
        assert_eq!(text(MAX_SECONDS), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(text(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut weekday = DAYS.iter().cycle();
        let (mut year, mut month, mut day) = (1970, 1, 0);
        for days in 0..200 * 366 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let len = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > len {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
            assert_eq!(civil(days), (year, month, day));
            let text = HttpDate::at(days * 86_400);
            assert_eq!(&text.as_bytes()[..3], *weekday.next().unwrap());
        }
    }

    #[test]
    fn update_follows_the_clock_both_ways() {
        let mut date = HttpDate::at(100);
        date.update(101);
        assert_eq!(date, HttpDate::at(101));
        date.update(99);
        assert_eq!(date, HttpDate::at(99));
    }
}
