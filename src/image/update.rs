//! Newer releases of an image, where its publisher lists them: the folder above the part of the URL that has a date is
//! read as the web page that Apache or nginx makes of a folder.

use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

use super::checksums;
use super::fetch::FetchError;
use crate::lab::{Digest, Download, ImageEntry, ImageSource, Location};

/// Names of lists of checksums, as publishers call them.
const LISTS: [&str; 5] = ["SHA512SUMS", "SHA256SUMS", "sha256sums", "CHECKSUM", "CHECKSUM.SHA256"];
/// The newest releases that are examined: of one that is still being published the list of checksums may be missing.
const EXAMINED: usize = 5;

/// A date in a URL, and what a publisher adds to it: `20260923-2610`, `20240528.0`, `20260814`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct Release {
    date: u32,
    number: u64,
    text: String,
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.text)
    }
}

impl From<Release> for String {
    fn from(release: Release) -> Self {
        release.text
    }
}

impl Release {
    /// Returns the first date in `text`, and where it is.
    fn find(text: &str) -> Option<(Self, Range<usize>)> {
        let bytes = text.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut at = 0;
        while at < bytes.len() {
            let length = digits(at);
            if length == 8
                && let Some(date) = date(&text[at..at + 8])
            {
                let mut end = at + 8;
                let mut number = 0;
                if matches!(bytes.get(end), Some(b'-' | b'.')) {
                    let length = digits(end + 1);
                    if length > 0
                        && let Ok(parsed) = text[end + 1..end + 1 + length].parse()
                    {
                        number = parsed;
                        end += 1 + length;
                    }
                }
                let release = Self {
                    date,
                    number,
                    text: text[at..end].to_owned(),
                };
                return Some((release, at..end));
            }
            at += length.max(1);
        }
        None
    }

    /// Returns the date as people write it: `2026-09-23`.
    pub fn day(&self) -> String {
        let (year, month, day) = (self.date / 10_000, self.date / 100 % 100, self.date % 100);
        format!("{year}-{month:02}-{day:02}")
    }
}

/// Returns the number of a date in the years 2000 to 2099.
fn date(digits: &str) -> Option<u32> {
    let date: u32 = digits.parse().ok()?;
    let (century, month, day) = (date / 1_000_000, date / 100 % 100, date % 100);
    (century == 20 && (1..=12).contains(&month) && (1..=31).contains(&day)).then_some(date)
}

/// What a publisher lists.
#[derive(Debug)]
pub enum Update {
    /// The image's URL has no date: nothing can be compared.
    NotDated,
    /// There is none newer than the entry's.
    Newest(Release),
    /// There is a newer one.
    Newer {
        /// The entry's.
        was: Release,
        /// The newer one.
        is: Release,
        /// Its entry. It has a digest where the publisher's list of checksums has one.
        entry: Box<ImageEntry>,
    },
    /// The list has no release whose name is like the entry's.
    Nothing {
        /// Its URL.
        list: String,
    },
    /// The list cannot be read.
    Unlisted {
        /// Its URL.
        list: String,
        /// Why.
        error: FetchError,
    },
}

/// Where the date is in a URL: in the first part of its path that has one.
struct Dated<'a> {
    /// What is before that part, with the slash: the URL of the list.
    list: &'a str,
    /// The part up to the date, and from the date on.
    before: &'a str,
    after: &'a str,
    release: Release,
}

impl<'a> Dated<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let path = url.find("://")? + 3;
        let mut begin = path + url[path..].find('/')? + 1;
        loop {
            let end = url[begin..].find('/').map_or(url.len(), |length| begin + length);
            let part = &url[begin..end];
            if let Some((release, place)) = Release::find(part) {
                return Some(Self {
                    list: &url[..begin],
                    before: &part[..place.start],
                    after: &part[place.end..],
                    release,
                });
            }
            if end == url.len() {
                return None;
            }
            begin = end + 1;
        }
    }

    /// Returns the releases in a listing.
    fn listed(&self, page: &str) -> Vec<Release> {
        links(page)
            .into_iter()
            .filter_map(|name| {
                let rest = name.strip_prefix(self.before)?;
                let (release, place) = Release::find(rest)?;
                let same = place.start == 0 && rest[place.end..] == *self.after;
                same.then_some(release)
            })
            .collect()
    }

    /// Returns those of the releases `listed` that are newer than this one, the newest first.
    fn newer(&self, listed: Vec<Release>) -> Vec<Release> {
        let mut found: Vec<Release> = listed.into_iter().filter(|release| *release > self.release).collect();
        found.sort();
        found.dedup();
        found.reverse();
        found.truncate(EXAMINED);
        found
    }
}

/// Returns the names that a listing's links lead to, without slashes.
fn links(page: &str) -> Vec<&str> {
    // Of the same length, byte by byte.
    let lower = page.to_ascii_lowercase();
    let places = lower.match_indices("href=").map(|(at, found)| at + found.len());
    let link = |at: usize| {
        let quoted = &page[at..];
        let quote = quoted.chars().next().filter(|c| ['"', '\''].contains(c))?;
        let (link, _) = quoted[1..].split_once(quote)?;
        let path = link.split(['?', '#']).next()?;
        path.trim_end_matches('/').rsplit('/').next()
    };
    let names = places.filter_map(link);
    names.filter(|name| !["", ".", ".."].contains(name)).collect()
}

/// Asks the publisher of an image for a newer release. `stall`: how long the server may send nothing.
pub fn newer(entry: &ImageEntry, stall: Duration) -> Update {
    let ImageSource::Download(download) = &entry.source else {
        return Update::NotDated;
    };
    let urls = download.mirrors.iter().filter_map(|mirror| match mirror {
        Location::Url(url) => Some(url.as_str()),
        Location::File(_) => None,
    });
    let Some(dated) = urls.into_iter().find_map(Dated::of) else {
        return Update::NotDated;
    };
    let page = match checksums::text(dated.list, stall) {
        Ok(page) => page,
        Err(error) => {
            return Update::Unlisted {
                list: crate::lab::masked::urls(dated.list),
                error,
            };
        }
    };
    let listed = dated.listed(&page);
    if listed.is_empty() {
        return Update::Nothing {
            list: crate::lab::masked::urls(dated.list),
        };
    }
    let releases = dated.newer(listed);
    let mut first = None;
    for release in releases {
        let newer = with_release(download, &dated.release, &release);
        let found = published(&newer, stall);
        let is_known = found.is_some();
        let (checksums, digest) = found.unzip();
        let newer = Update::Newer {
            was: dated.release.clone(),
            is: release.clone(),
            entry: Box::new(ImageEntry {
                description: entry.description.replace(&dated.release.day(), &release.day()),
                source: ImageSource::Download(Download {
                    digest,
                    checksums,
                    ..newer
                }),
                ..entry.clone()
            }),
        };
        if is_known {
            return newer;
        }
        first.get_or_insert(newer);
    }
    first.unwrap_or(Update::Newest(dated.release))
}

/// Returns a download of another release: without digest, and without mirrors whose URL has no date.
fn with_release(download: &Download, was: &Release, is: &Release) -> Download {
    let moved = |url: &String| url.contains(&was.text).then(|| url.replace(&was.text, &is.text));
    let mirrors = download.mirrors.iter().filter_map(|mirror| match mirror {
        Location::Url(url) => moved(url).map(Location::Url),
        Location::File(_) => None,
    });
    Download {
        mirrors: mirrors.collect(),
        digest: None,
        // A list beside all releases has no date in its URL.
        checksums: download
            .checksums
            .as_ref()
            .map(|url| moved(url).unwrap_or_else(|| url.clone())),
        unpacked: None,
        ..download.clone()
    }
}

/// Returns the digest that the publisher has for a download, with the list that has it: the one of its entry, or one
/// beside it.
fn published(download: &Download, stall: Duration) -> Option<(String, Digest)> {
    let file = checksums::file_name(download)?;
    let beside = download.mirrors.iter().find_map(|mirror| match mirror {
        Location::Url(url) => url.rsplit_once('/').map(|(folder, _)| folder),
        Location::File(_) => None,
    })?;
    let beside = LISTS.iter().map(|list| format!("{beside}/{list}"));
    download.checksums.clone().into_iter().chain(beside).find_map(|list| {
        let text = checksums::text(&list, stall).ok()?;
        let digest = checksums::find(&text, file).ok()??;
        Some((list, digest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Apache writes it: with links that sort, a parent folder, and icons.
    const APACHE: &str = r#"<html><body><h1>Index of /images/cloud/bookworm</h1><table>
<tr><th><a href="?C=N;O=D">Name</a></th></tr><tr><td><a href="/images/cloud/">Parent Directory</a></td></tr>
<tr><td><img src="/icons/folder.gif"></td><td><a href="20260923-2610/">20260923-2610/</a></td></tr>
<tr><td><A HREF="20261102-2650/">20261102-2650/</A></td></tr><tr><td><a href="20261102-2651/">x</a></td></tr>
<tr><td><a href="daily/">daily/</a></td></tr><tr><td><a href="latest/">latest/</a></td></tr></table></body></html>"#;

    /// As nginx writes it.
    const NGINX: &str = "<pre><a href=\"../\">../</a>\n<a href='./release-20260814/'>release-20260814/</a>\n\
        <a href=\"release-20261020/\">release-20261020/</a>\n<a href=\"https://h/releases/noble/release-20260101\">x</a>\n\
        <a href=\"release-20261399/\">no date</a>\n<a href=\"other-20271020/\">x</a></pre>";

    fn releases(url: &str, page: &str) -> Vec<String> {
        let dated = Dated::of(url).unwrap();
        let found = dated.newer(dated.listed(page));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn newer_releases_are_read_from_the_pages_of_apache_and_nginx() {
        let debian = "https://h/images/cloud/bookworm/20260923-2610/debian-12-genericcloud-amd64-20260923-2610.qcow2";
        assert_eq!(releases(debian, APACHE), ["20261102-2651", "20261102-2650"]);
        let ubuntu = "https://h/releases/noble/release-20260814/ubuntu-24.04.img";
        assert_eq!(releases(ubuntu, NGINX), ["20261020"]);
        // The date is in the file's name: what else is in the folder is of another kind.
        let rocky = "https://h/8/images/Rocky-8-Base-8.10-20240528.0.x86_64.qcow2";
        let page = "<a href=\"Rocky-8-Base-8.10-20240528.0.x86_64.qcow2\"></a><a href=\"Rocky-8-LVM-8.10-20250101.0.x86_64.qcow2\"></a>\
            <a href=\"Rocky-8-Base-8.10-20250202.1.x86_64.qcow2\"></a><a href=\"Rocky-8-Base-8.10-20250202.1.x86_64.qcow2.CHECKSUM\"></a>";
        assert_eq!(releases(rocky, page), ["20250202.1"]);
        for page in ["", "<html>", "<a href=", "<a href=\"", "<a href=\"20261102-2650"] {
            assert_eq!(releases(debian, page), Vec::<String>::new(), "{page}");
        }
    }

    #[test]
    fn a_url_is_dated_by_a_date_and_by_no_other_number() {
        let list = |url: &str| Dated::of(url).map(|dated| (dated.list.to_owned(), dated.release.to_string()));
        assert_eq!(
            list("https://h/x/20260102/y"),
            Some(("https://h/x/".to_owned(), "20260102".to_owned()))
        );
        for url in [
            "https://h/3.24/alpine-3.24.2.qcow2",
            "https://h/20261301/x",
            "https://h/19991231/x",
            "https://h/202601021/x",
            "https://20260102/x",
            "https://h",
            "20260102",
        ] {
            assert_eq!(list(url), None, "{url}");
        }
        assert_eq!(Release::find("a-20260923-2610.q").unwrap().0.day(), "2026-09-23");
    }
}
