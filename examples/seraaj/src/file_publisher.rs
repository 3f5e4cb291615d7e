//! The platform's own publisher, which appends one line of JSON per event to a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Event of the platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Unique ID.
    pub id: String,
    /// Type, such as `application.submitted`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Content, by event type.
    pub payload: Value,
    /// Name of the publishing service.
    pub source: String,
    /// Time of the event.
    pub time: Timestamp,
}

/// Publisher to a file, to which other processes may write in the same way. Clones share it.
#[derive(Clone)]
pub struct FilePublisher {
    file: Arc<Mutex<Lines>>,
}

/// File of lines. `is_torn` is `true` if a full disk or a crash left its last line incomplete.
struct Lines {
    file: File,
    is_torn: bool,
}

impl FilePublisher {
    /// Opens the file at `path`, or creates it.
    ///
    /// # Errors
    /// The system's error.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Only a regular file can be read from its end, not a pipe.
        let is_file = std::fs::metadata(path).map_or(true, |found| found.is_file());
        let file = OpenOptions::new().append(true).read(is_file).create(true).open(path)?;
        let is_torn = is_torn(&file)?;
        Ok(Self { file: Arc::new(Mutex::new(Lines { file, is_torn })) })
    }

    /// Writes `events`, one per line and all in one write, so that lines of other processes do not come between them. A
    /// cancelled write is completed all the same.
    ///
    /// # Errors
    /// The system's error. Some of the events may be in the file then, and its last line may be incomplete.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn publish(&self, events: &[Event]) -> io::Result<()> {
        let mut text = Vec::new();
        for event in events {
            serde_json::to_writer(&mut text, event)?;
            text.push(b'\n');
        }
        let file = self.file.clone();
        let write = move || file.lock().unwrap_or_else(PoisonError::into_inner).write(text);
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }
}

impl Lines {
    fn write(&mut self, mut text: Vec<u8>) -> io::Result<()> {
        if self.is_torn {
            text.insert(0, b'\n');
        }
        // Without a failure this is one system call.
        let written = self.file.write_all(&text);
        self.is_torn = written.is_err();
        written
    }
}

fn is_torn(file: &File) -> io::Result<bool> {
    let found = file.metadata()?;
    let mut last = [b'\n'];
    if found.is_file() && found.len() > 0 {
        file.read_at(&mut last, found.len() - 1)?;
    }
    Ok(last != [b'\n'])
}

/// Parses the events in the text of a file. Incomplete lines, which a full disk may have left, are skipped.
pub fn read(text: &str) -> impl Iterator<Item = Event> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(id: &str) -> Event {
        Event {
            id: id.to_owned(),
            event_type: "a.b".to_owned(),
            payload: json!({"text": "two\nlines"}),
            source: "s".to_owned(),
            time: Timestamp::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn an_event_is_a_line_of_json_at_the_end_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        std::fs::write(&path, "before\n").unwrap();
        FilePublisher::open(&path).unwrap().publish(&[event("1")]).await.unwrap();
        let line = r#"{"id":"1","type":"a.b","payload":{"text":"two\nlines"},"source":"s","time":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(std::fs::read_to_string(path).unwrap(), format!("before\n{line}\n"));
    }

    #[tokio::test]
    async fn lines_of_many_writers_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        // Two descriptors of the file, as of two processes.
        let publishers = [FilePublisher::open(&path).unwrap(), FilePublisher::open(&path).unwrap()];
        let writes = (0..200).map(|n| {
            let (publisher, id) = (&publishers[n % 2], n.to_string());
            async move { publisher.publish(&[event(&id), event(&format!("{id}b"))]).await.unwrap() }
        });
        futures::future::join_all(writes).await;
        let text = std::fs::read_to_string(path).unwrap();
        let ids: Vec<String> = read(&text).map(|event| event.id).collect();
        assert_eq!((text.lines().count(), ids.len()), (400, 400));
        assert!(ids.chunks(2).all(|pair| format!("{}b", pair[0]) == pair[1]), "{ids:?}");
    }

    #[tokio::test]
    async fn a_failed_write_is_returned_to_the_caller() {
        let publisher = FilePublisher::open(Path::new("/dev/full")).unwrap();
        let error = publisher.publish(&[event("1")]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[tokio::test]
    async fn the_line_after_a_torn_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        std::fs::write(&path, r#"{"id":"tor"#).unwrap();
        let publisher = FilePublisher::open(&path).unwrap();
        publisher.publish(&[event("1")]).await.unwrap();
        {
            let mut lines = publisher.file.lock().unwrap();
            lines.file.write_all(br#"{"id":"tor"#).unwrap();
            lines.is_torn = true;
        }
        publisher.publish(&[event("2")]).await.unwrap();
        publisher.publish(&[event("3")]).await.unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&text).map(|event| event.id).collect::<Vec<_>>(), ["1", "2", "3"]);
        assert_eq!(text.lines().count(), 5);
    }
}
