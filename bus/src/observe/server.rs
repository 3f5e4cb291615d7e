//! Facts of the server, by INFO.

use eventbus_core::facts::ServerInfo;

use crate::error::Error;
use crate::redis::Connection;

/// Reads version, mode and role of the server. `endpoint` is for errors only.
///
/// # Errors
/// [`Error::Server`].
pub async fn server_info(conn: &mut Connection, endpoint: &str) -> Result<ServerInfo, Error> {
    // Servers before 7.0, which are to be reported as too old, accept one section a command.
    let sections =
        redis::pipe().cmd("INFO").arg("server").cmd("INFO").arg("replication").to_owned();
    let info: Result<(String, String), _> = sections.query_async(conn).await;
    let parse =
        |(server, replication): (String, String)| ServerInfo::parse(&(server + &replication));
    info.map(parse).map_err(|source| Error::Server {
        operation: "read version and role",
        endpoint: endpoint.to_owned(),
        source: source.into(),
    })
}

/// Reads as [`server_info`] does. Returns empty fields if the user has no permission for INFO.
pub(crate) async fn server_info_if_allowed(
    conn: &mut Connection,
    endpoint: &str,
) -> Result<ServerInfo, Error> {
    match server_info(conn, endpoint).await {
        Err(error) if error.code() == Some("NOPERM") => Ok(ServerInfo::default()),
        result => result,
    }
}
