//! Permissions that consuming needs, checked all at once when a consumer connects.

use eventbus_core::delivery::DeliveryOrder;

use crate::error::Error;
use crate::redis::Connection;
use crate::redis::permissions::{NO_NAME, NO_SCRIPT, Needed, command, try_all};

use super::commands::Consumer;

impl Consumer {
    /// Tries each command that a consumer needs, except HSET: it cannot be tried without writing, and without it only
    /// the consumers' hash is not written.
    ///
    /// # Errors
    /// [`Error::MissingPermissions`] with all that are missing; Redis' error if they could not be tried.
    pub async fn check_permissions(&self, conn: &mut Connection) -> Result<(), Error> {
        const OPERATION: &str = "consume events";
        let tried = try_all(conn, self.needed()).await;
        let tried = tried.map_err(|source| self.failed(OPERATION, source))?;
        if tried.missing.is_empty() {
            return Ok(());
        }
        let (stream, missing) = (self.config.stream.clone(), tried.missing);
        Err(Error::MissingPermissions { operation: OPERATION, stream, missing })
    }

    fn needed(&self) -> Vec<Needed> {
        let (stream, hash, me) = (self.config.stream.as_str(), &self.consumers, self.me.as_str());
        let read = ["XREADGROUP", "GROUP", NO_NAME, me, "COUNT", "1", "STREAMS", stream, ">"];
        let mut needed = vec![
            ("XREADGROUP", command(&read)),
            ("XACK", command(&["XACK", stream, NO_NAME, "0-0"])),
            ("XPENDING", command(&["XPENDING", stream, NO_NAME])),
            ("XCLAIM", command(&["XCLAIM", stream, NO_NAME, me, "0", "0-0"])),
            ("XRANGE", command(&["XRANGE", stream, "+", "-", "COUNT", "1"])),
            ("TIME", command(&["TIME"])),
            ("XINFO GROUPS", command(&["XINFO", "GROUPS", stream])),
            ("HGET on the consumers' hash", command(&["HGET", hash, "swept"])),
            ("HDEL on the consumers' hash", command(&["HDEL", hash, NO_NAME])),
            ("EVAL", command(&["EVAL", "return 0", "2", stream, hash])),
            ("EVALSHA", command(&["EVALSHA", NO_SCRIPT, "2", stream, hash])),
        ];
        needed
            .push(("XGROUP DELCONSUMER", command(&["XGROUP", "DELCONSUMER", stream, NO_NAME, me])));
        if self.config.delivery.ordering == DeliveryOrder::Stream {
            needed.push(("XREAD", command(&["XREAD", "COUNT", "1", "STREAMS", stream, "$"])));
        }
        if self.config.dead_letters.is_some() {
            let letters = self.dead_letters.as_str();
            // No entry can have this ID.
            needed.extend([
                ("XADD on the dead letters", command(&["XADD", letters, "0-0", NO_NAME, ""])),
                ("XLEN on the dead letters", command(&["XLEN", letters])),
                ("XPENDING on the dead letters", command(&["XPENDING", letters, NO_NAME])),
                (
                    "XCLAIM on the dead letters",
                    command(&["XCLAIM", letters, NO_NAME, me, "0", "0-0"]),
                ),
                (
                    "XRANGE on the dead letters",
                    command(&["XRANGE", letters, "+", "-", "COUNT", "1"]),
                ),
                ("XACK on the dead letters", command(&["XACK", letters, NO_NAME, "0-0"])),
                ("XDEL on the dead letters", command(&["XDEL", letters, "0-0"])),
            ]);
        }
        needed
    }
}
