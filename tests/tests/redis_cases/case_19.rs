//! Names of groups and consumers that are not UTF-8, and names that look like these escaped.

use tests::programs::Running;
use tests::redis::RedisServer;
use tests::subscriber::LONG;
use tests::wait;

/// Names, and how they are shown.
const NAMES: [(&[u8], &str); 5] = [
    (b"\xff\xfe", r"\xff\xfe"),
    (br"\xff\xfe", r"\\xff\\xfe"),
    (br"\\xff\\xfe", r"\\\\xff\\\\xfe"),
    (b"\xc3\xa9\xff", r"\xc3\xa9\xff"),
    (br"\xc3\xa9\xff", r"\\xc3\\xa9\\xff"),
];

#[tokio::test(flavor = "multi_thread")]
async fn case_19_groups_whose_names_differ_are_shown_apart() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for (name, _) in NAMES {
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATE").arg("s").arg(name).arg("0").arg("MKSTREAM");
        create.exec_async(&mut conn).await.unwrap();
    }
    let (url, listen) = (server.url(), ("LISTEN", "127.0.0.1:0"));
    let settings =
        [("REDIS_URL", url.as_str()), ("REDIS_STREAM_NAME", "s"), ("HEALTH_GROUPS", "g"), listen];
    let program = Running::start("consumer", &["health"], &settings);
    let address = wait::until("the service tells its address", LONG, async || {
        let output = program.output();
        let (_, rest) = output.split_once("serving HTTP address=")?;
        rest.split_once('\n').map(|(address, _)| address.trim().to_owned())
    })
    .await;
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest::Client::builder().no_proxy().timeout(LONG).build().unwrap();
    let get = async |path: &str| {
        let response = client.get(format!("http://{address}{path}")).send().await.unwrap();
        response.text().await.unwrap()
    };
    // Metrics and JSON escape each backslash once more.
    let shown: Vec<String> = NAMES.iter().map(|(_, shown)| shown.replace('\\', r"\\")).collect();
    for path in ["/metrics", "/api/health/events"] {
        wait::until(&format!("{path} shows all groups"), LONG, async || {
            let text = get(path).await;
            shown.iter().all(|name| text.contains(&format!("\"{name}\""))).then_some(())
        })
        .await;
    }
}
