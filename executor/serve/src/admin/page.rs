//! The page of the administration, for a browser.
//!
//! Invariant: the page says nothing of the functions: what it shows it asks for with the token of its user. It loads
//! nothing from elsewhere, and no script runs but its own.

use super::Reply;
use hyper::{
    StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use rustix::rand::{GetRandomFlags, getrandom};

const PAGE: &str = include_str!("page.html");

/// The page. Its own script and style are known by a number that is another one each time.
pub(super) fn page() -> Reply {
    let mut bytes = [0; 16];
    let random = getrandom(&mut bytes, GetRandomFlags::empty());
    let nonce: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let (Ok(_), Ok(policy)) = (random, HeaderValue::from_str(&policy)) else {
        return super::text(StatusCode::INTERNAL_SERVER_ERROR, "no random bytes\n");
    };
    let mut reply = Reply::new(PAGE.replace("{nonce}", &nonce).into());
    let headers = reply.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}
