//! The command line of `executor serve`.

use crate::config::{Address, Config, ConfigError, Sandbox, Tls};
use clap::Parser;
use executor::settings::Time;
use std::{net::SocketAddr, path::PathBuf};

/// Serves stored functions over HTTP, a fresh instance for each request
#[derive(Debug, Parser)]
#[command(name = "executor serve", version)]
pub(crate) struct Args {
    /// The functions to serve; all of the store if none is named
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Where requests are answered [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) addr: Option<SocketAddr>,
    /// Where the administration is: metrics, deploying, a page
    #[arg(long, value_name = "ADDR:PORT|unix:PATH")]
    pub(crate) admin: Option<Address>,
    /// A file with the token that the administration asks for [default: made in the store]
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_token: Option<PathBuf>,
    /// A configuration (see configs/serve.toml); it is read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How many processes guests run in [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Whether the kernel keeps workers from what serving does not need [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub(crate) sandbox: Option<Sandbox>,
    /// How long requests have to end when the server is to [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) drain: Option<Time>,
    /// The certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// How a log line is written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log: LogFormat,
    /// Write a log line for each request
    #[arg(long)]
    pub(crate) access_log: bool,
    /// The store directory [default: $EXECUTOR_STORE, or else that of the user]
    #[arg(long, value_name = "DIR", env = "EXECUTOR_STORE")]
    pub(crate) store: Option<PathBuf>,
    /// Use the store as it is, whoever owns it, and write nothing to it
    #[arg(long, env = "EXECUTOR_TRUST_STORE", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) trust_store: bool,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// An object of JSON each
    Json,
}

impl Args {
    /// The configuration: what the command line says, then what the file says, then what holds anyhow.
    ///
    /// # Errors
    /// When the file cannot be read, or is no configuration.
    pub(crate) fn configuration(&self) -> Result<Config, ConfigError> {
        let config = self.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Some(Tls { cert: cert.clone(), key: key.clone() }),
            _ => config.tls,
        };
        Ok(Config {
            addr: self.addr.unwrap_or(config.addr),
            admin: self.admin.clone().or(config.admin),
            admin_token: self.admin_token.clone().or(config.admin_token),
            workers: self.workers.and_then(|n| usize::from(n).try_into().ok()).or(config.workers),
            sandbox: self.sandbox.unwrap_or(config.sandbox),
            drain: self.drain.unwrap_or(config.drain),
            tls,
            ..config
        })
    }
}
