//! A mail server as RFC 5321 describes it: takes mails, or refuses them at any point.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What it does with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Plain,
    StartTls,
    Always,
}

/// What it answers to a command, by the command's first word; `""` for the greeting, `.` for the end
/// of a mail. An empty answer ends the connection.
pub type Answers = Vec<(&'static str, &'static str)>;

/// A mail it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub from: String,
    pub to: Vec<String>,
    /// Head and body, lines ending in `\n`.
    pub text: String,
    pub is_secure: bool,
    pub login: Option<String>,
}

impl Taken {
    pub fn header(&self, name: &str) -> &str {
        let (head, _) = self.text.split_once("\n\n").unwrap();
        let start = format!("{name}: ");
        let mut lines = head.lines().filter_map(|line| line.strip_prefix(&start));
        let value = lines.next().expect(name);
        assert_eq!(lines.next(), None, "{name} is there twice");
        value
    }
}

#[derive(Clone)]
pub struct MailServer {
    pub address: SocketAddr,
    /// Its certificate as PEM.
    pub certificate: String,
    acceptor: TlsAcceptor,
    security: Security,
    answers: Arc<Mutex<Answers>>,
    taken: Arc<Mutex<Vec<Taken>>>,
    /// Commands it got before TLS.
    pub heard: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    pub async fn start(security: Security) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let secret = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            certificate: pem(certificate.der()),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            security,
            answers: Arc::default(),
            taken: Arc::default(),
            heard: Arc::default(),
        };
        let shared = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = shared.clone();
                tokio::spawn(async move { server.converse(stream).await });
            }
        });
        server
    }

    /// Answers differently from now on; to what is not named as it should.
    pub fn answering(&self, answers: &[(&'static str, &'static str)]) {
        *self.answers.lock().unwrap() = answers.to_vec();
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    async fn converse(&self, stream: tokio::net::TcpStream) -> Option<()> {
        let mut talk = Talk::new(self);
        if self.security == Security::Always {
            let stream = self.acceptor.accept(stream).await.ok()?;
            talk.is_secure = true;
            talk.run(stream).await?;
            return Some(());
        }
        let stream = talk.run(stream).await?;
        let stream = self.acceptor.accept(stream).await.ok()?;
        talk.is_secure = true;
        talk.run(stream).await?;
        Some(())
    }
}

fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate).into_bytes();
    let lines: Vec<_> = text
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line))
        .collect();
    let inside = lines.join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{inside}\n-----END CERTIFICATE-----\n")
}

struct Talk<'a> {
    server: &'a MailServer,
    is_secure: bool,
    login: Option<String>,
    from: String,
    to: Vec<String>,
}

impl<'a> Talk<'a> {
    fn new(server: &'a MailServer) -> Self {
        Self {
            server,
            is_secure: false,
            login: None,
            from: String::new(),
            to: Vec::new(),
        }
    }

    fn answer(&self, command: &str, usual: &str) -> String {
        let answers = self.server.answers.lock().unwrap();
        let other = answers.iter().find(|(known, _)| *known == command);
        other.map_or(usual, |(_, answer)| *answer).to_owned()
    }

    /// Talks until TLS is wanted; `None` at the end.
    async fn run<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: S) -> Option<S> {
        let mut stream = BufReader::new(stream);
        if !(self.is_secure && self.server.security == Security::StartTls) {
            say(&mut stream, &self.answer("", "220 mail.test ESMTP")).await?;
        }
        loop {
            let line = line(&mut stream).await?;
            if !self.is_secure {
                self.server.heard.lock().unwrap().push(line.clone());
            }
            let word = line.split(' ').next().unwrap_or("").to_ascii_uppercase();
            let usual = match word.as_str() {
                "EHLO" => self.offers(),
                "AUTH" => {
                    self.login = line.split(' ').nth(2).map(str::to_owned);
                    "235 2.7.0 welcome".to_owned()
                }
                "MAIL" => {
                    self.from = line;
                    "250 2.1.0 ok".to_owned()
                }
                "RCPT" => {
                    self.to.push(line);
                    "250 2.1.5 ok".to_owned()
                }
                "DATA" => "354 go on".to_owned(),
                "STARTTLS" if self.server.security == Security::StartTls => {
                    say(&mut stream, "220 go on").await?;
                    return Some(stream.into_inner());
                }
                "QUIT" => "221 bye".to_owned(),
                _ => "502 5.5.1 what?".to_owned(),
            };
            let answer = self.answer(&word, &usual);
            say(&mut stream, &answer).await?;
            if word == "DATA" && answer.starts_with("354") {
                self.take(&mut stream).await?;
            }
        }
    }

    fn offers(&self) -> String {
        let more = match (self.server.security, self.is_secure) {
            (Security::StartTls, false) => "250-STARTTLS\r\n",
            _ => "250-AUTH PLAIN\r\n",
        };
        format!("250-mail.test\r\n{more}250 8BITMIME")
    }

    async fn take<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut BufReader<S>,
    ) -> Option<()> {
        let mut text = String::new();
        loop {
            let line = line(stream).await?;
            if line == "." {
                break;
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            text.push('\n');
        }
        let answer = self.answer(".", "250 2.0.0 taken");
        if answer.starts_with("250") {
            self.server.taken.lock().unwrap().push(Taken {
                from: std::mem::take(&mut self.from),
                to: std::mem::take(&mut self.to),
                text,
                is_secure: self.is_secure,
                login: self.login.clone(),
            });
        }
        say(stream, &answer).await
    }
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    answer: &str,
) -> Option<()> {
    if answer.is_empty() {
        return None;
    }
    let line = format!("{answer}\r\n");
    stream.get_mut().write_all(line.as_bytes()).await.ok()?;
    stream.get_mut().flush().await.ok()
}

async fn line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}
