//! Asking a server what it is.

use eventbus_core::facts::ServerInfo;

use crate::error::Error;
use crate::redis::Connection;

/// Asks the server at `endpoint` (for errors alone) what it is.
///
/// # Errors
/// [`Error::Server`].
pub async fn server_info(conn: &mut Connection, endpoint: &str) -> Result<ServerInfo, Error> {
    // Servers before 7.0, which are to be told as such, know one section a command.
    let sections =
        redis::pipe().cmd("INFO").arg("server").cmd("INFO").arg("replication").to_owned();
    let info: Result<(String, String), _> = sections.query_async(conn).await;
    let parse =
        |(server, replication): (String, String)| ServerInfo::parse(&(server + &replication));
    info.map(parse).map_err(|source| Error::Server {
        operation: "ask for version and role",
        endpoint: endpoint.to_owned(),
        source: source.into(),
    })
}

/// As [`server_info`]; all empty where the user may not ask for it.
pub(crate) async fn server_info_if_allowed(
    conn: &mut Connection,
    endpoint: &str,
) -> Result<ServerInfo, Error> {
    match server_info(conn, endpoint).await {
        Err(error) if error.code() == Some("NOPERM") => Ok(ServerInfo::default()),
        result => result,
    }
}
