use super::super::test_server::{Asked, Server, file, reply};
use super::*;

const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/payload/testdata/ca.pem");

fn client() -> Client {
    Client::direct(Duration::from_millis(300), Cancel::default())
}

fn tls_client(ssl_cert_file: &str) -> Client {
    Client {
        agent: Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(
                TlsConfig::builder()
                    .root_certs(trust::authorities(ssl_cert_file).unwrap())
                    .build(),
            )
            .build()
            .new_agent(),
        proxy: None,
        cancel: Cancel::default(),
    }
}

fn url(text: String) -> Url {
    Url::parse(&text).unwrap()
}

#[test]
fn a_small_file_is_fetched_and_an_absent_one_is_none() {
    let server = Server::start(|asked, out| match asked.path.as_str() {
        "/a" => reply(asked, out, "200 OK", "", b"content"),
        _ => reply(asked, out, "404 Not Found", "", b"gone"),
    });
    assert_eq!(
        client()
            .small(&url(server.url("/a")), 100)
            .unwrap()
            .unwrap(),
        b"content"
    );
    assert_eq!(client().small(&url(server.url("/b")), 100).unwrap(), None);
    assert_eq!(client().size(&url(server.url("/a"))).unwrap(), Some(7));
    let error = client().small(&url(server.url("/a")), 3).unwrap_err();
    assert_eq!(error.code(), Code::BadSource);
    let error = client().download(&url(server.url("/b")), 0).unwrap_err();
    assert_eq!(error.code(), Code::BadSource);
    assert!(error.to_string().contains("no such file"), "{error}");
}

#[test]
fn passing_faults_are_retried_and_lasting_ones_named() {
    let server = Server::start(|asked, out| match asked.path.as_str() {
        "/always" => reply(asked, out, "503 Busy", "", b""),
        _ => reply(asked, out, "403 Forbidden", "", b""),
    });
    let error = client()
        .download(&url(server.url("/always")), 0)
        .unwrap_err();
    assert_eq!(error.code(), Code::Network);
    assert_eq!(server.requests().len() as u32, 1 + RETRIES);
    let error = client().download(&url(server.url("/no")), 0).unwrap_err();
    assert_eq!(error.code(), Code::BadSource);
    assert_eq!(server.requests().len() as u32, 2 + RETRIES);
}

#[test]
fn redirects_are_followed_within_bounds() {
    let server = Server::start(|asked, out| match asked.path.as_str() {
        "/a" => reply(asked, out, "302 Found", "Location: b\r\n", b""),
        "/b" => reply(asked, out, "200 OK", "", b"here"),
        "/loop" => reply(asked, out, "301 Moved", "Location: /loop\r\n", b""),
        "/file" => reply(
            asked,
            out,
            "302 Found",
            "Location: file:///etc/passwd\r\n",
            b"",
        ),
        _ => reply(asked, out, "302 Found", "", b""),
    });
    assert_eq!(
        client()
            .small(&url(server.url("/a")), 100)
            .unwrap()
            .unwrap(),
        b"here"
    );
    for path in ["/loop", "/file", "/nowhere"] {
        assert!(
            client().small(&url(server.url(path)), 100).is_err(),
            "{path}"
        );
    }
}

#[test]
fn https_never_becomes_http() {
    let plain = Server::start(|asked, out| reply(asked, out, "200 OK", "", b"plain"));
    let location = format!("Location: {}\r\n", plain.url("/"));
    let server = Server::start_tls(include_bytes!("testdata/server.der"), move |asked, out| {
        reply(asked, out, "302 Found", &location, b"");
    });
    let at = url(format!("https://localhost:{}/", server.address.port()));
    let error = tls_client(CA).small(&at, 100).unwrap_err();
    assert!(error.to_string().contains("from https to http"), "{error}");
    assert!(plain.requests().is_empty());
}

#[test]
fn a_trusted_authority_is_enough() {
    let server = Server::start_tls(include_bytes!("testdata/server.der"), |asked, out| {
        reply(
            asked,
            out,
            "200 OK",
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            b"secret",
        );
    });
    let at = url(format!("https://localhost:{}/a", server.address.port()));
    assert_eq!(tls_client(CA).small(&at, 100).unwrap().unwrap(), b"secret");
    assert_eq!(tls_client(CA).server_time(&at), Some(784_111_777));
}

#[test]
fn an_inspecting_proxy_is_named() {
    let server = Server::start_tls(include_bytes!("testdata/server.der"), |asked, out| {
        reply(asked, out, "200 OK", "", b"");
    });
    let at = url(format!("https://localhost:{}/a", server.address.port()));
    let error = tls_client("").small(&at, 100).unwrap_err();
    assert_eq!(error.code(), Code::TlsIntercepted);
    let text = error.to_string();
    assert!(
        text.contains("localhost") && text.contains("Example Inspecting Proxy CA"),
        "{text}"
    );
    assert!(server.requests().is_empty(), "nothing may be sent to it");
}

#[test]
fn certificates_out_of_their_time_point_at_the_clock() {
    let expired: &'static [u8] = include_bytes!("testdata/expired.der");
    let future: &'static [u8] = include_bytes!("testdata/future.der");
    for (der, day) in [(expired, "2001-01-01"), (future, "2090-01-01")] {
        let server = Server::start_tls(der, |asked, out| reply(asked, out, "200 OK", "", b""));
        let at = url(format!("https://localhost:{}/a", server.address.port()));
        let error = tls_client(CA).small(&at, 100).unwrap_err();
        assert_eq!(error.code(), Code::ClockOff, "{error}");
        assert!(error.to_string().contains(day), "{error}");
    }
}

#[test]
fn a_silent_server_is_given_up() {
    let server = Server::start(|_, _| std::thread::sleep(Duration::from_secs(30)));
    let started = Instant::now();
    let mut client = client();
    client.agent = Agent::config_builder()
        .timeout_recv_response(Some(Duration::from_millis(100)))
        .proxy(None)
        .build()
        .new_agent();
    let error = client.small(&url(server.url("/a")), 100).unwrap_err();
    assert_eq!(error.code(), Code::Network);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn names_and_ports_without_a_server_are_network_faults() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = client().size(&url(format!("http://{free}/"))).unwrap_err();
    assert_eq!(refused.code(), Code::Network);
    let cancelled = client();
    cancelled
        .cancel
        .request(crate::host::cancel::Stop::Cancelled);
    assert!(
        cancelled
            .size(&url(format!("http://{free}/")))
            .unwrap_err()
            .is_stopped()
    );
}

#[test]
fn a_proxy_is_asked_for_the_host() {
    let proxy = Server::start(|asked, out| {
        if asked.method == "CONNECT" {
            let _ = out.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        } else {
            reply(asked, out, "200 OK", "", b"through");
        }
    });
    let named = format!("http://{}", proxy.address);
    let client = Client::new(&named, "", Cancel::default()).unwrap();
    assert!(
        client
            .size(&url("http://release.invalid/a".to_owned()))
            .is_ok()
    );
    let asked = proxy.requests();
    assert_eq!(asked[0].method, "CONNECT");
    assert_eq!(asked[0].path, "release.invalid:80");
    for wrong in ["socks5://h:1", "::", "ftp://u:secret@h"] {
        let error = Client::new(wrong, "", Cancel::default()).unwrap_err();
        assert_eq!(error.code(), Code::BadSettings);
        assert!(!error.to_string().contains("secret"));
    }
}

#[test]
fn ranges_are_checked() {
    let body: &'static [u8] = b"0123456789";
    let server = Server::start(move |asked, out| match asked.path.as_str() {
        "/wrong" => {
            reply(
                asked,
                out,
                "206 Partial Content",
                "Content-Range: bytes 0-9/10\r\n",
                body,
            );
        }
        "/ignores" => reply(asked, out, "200 OK", "", body),
        _ => file(asked, out, body),
    });
    let read = |path: &str, from| -> Result<(u64, String), PayloadError> {
        let answer = client().download(&url(server.url(path)), from)?;
        let start = answer.start;
        let mut text = String::new();
        answer.into_reader().read_to_string(&mut text).unwrap();
        Ok((start, text))
    };
    assert_eq!(read("/a", 4).unwrap(), (4, "456789".to_owned()));
    assert_eq!(read("/a", 10).unwrap(), (0, "0123456789".to_owned()));
    assert_eq!(read("/ignores", 4).unwrap(), (0, "0123456789".to_owned()));
    assert!(read("/wrong", 4).is_err());
}

#[test]
fn content_ranges_parse() {
    assert_eq!(content_range("bytes 10-99/100"), Some((10, Some(100))));
    assert_eq!(content_range("bytes 10-99/*"), Some((10, None)));
    assert_eq!(content_range("lines 1-2/3"), None);
}

#[test]
fn a_post_is_sent_once_and_ends_in_time() {
    let server = Server::start(|asked, out| match asked.path.as_str() {
        "/yes" => reply(asked, out, "200 OK", "", b"done"),
        "/long" => reply(asked, out, "500 No", "", &[b'x'; 5000]),
        "/moved" => reply(asked, out, "307 There", "Location: /yes\r\n", b""),
        "/busy" => reply(asked, out, "503 Busy", "", b""),
        "/silent" => std::thread::sleep(Duration::from_secs(5)),
        // Never silent, and never done.
        _ => {
            let _ = out.write_all(b"HTTP/1.1 200 OK\r\nX: ");
            for _ in 0..50 {
                std::thread::sleep(Duration::from_millis(100));
                let _ = out.write_all(b"x");
                let _ = out.flush();
            }
        }
    });
    let patient = Client::direct(Duration::from_secs(20), Cancel::default());
    let post = |path: &str| {
        let limit = Duration::from_millis(700);
        patient.post(&url(server.url(path)), &[("a", "b")], b"{}", 100, limit)
    };
    for (path, status, length) in [
        ("/yes", 200, 4),
        ("/long", 500, 100),
        ("/moved", 307, 0),
        ("/busy", 503, 0),
    ] {
        let posted = post(path).unwrap();
        assert_eq!((posted.status, posted.body.len()), (status, length));
    }
    for path in ["/silent", "/drip"] {
        let began = Instant::now();
        assert_eq!(post(path).unwrap_err().code(), Code::Network);
        assert!(began.elapsed() < Duration::from_secs(3), "{path}");
    }
    let asked = server.requests();
    assert_eq!(asked.len(), 6);
    let as_sent = |it: &Asked| it.method == "POST" && it.body == "{}";
    assert!(asked.iter().all(as_sent), "{asked:?}");
    assert_eq!(asked[0].header("a").unwrap(), "b");
}
