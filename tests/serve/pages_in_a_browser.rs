//! What a person sees: the page of the administration and a function's, in a browser.

use crate::{admin::server, browser::Browser, guests, server::Store};
use serde_json::json;
use std::{env, fs};

/// Writes a picture of the page to the directory that is named by `EXECUTOR_TEST_PICTURES`, if it is.
fn picture(browser: &mut Browser, name: &str) {
    let Some(dir) = env::var_os("EXECUTOR_TEST_PICTURES") else { return };
    let params = json!({ "captureBeyondViewport": true });
    let answer = browser.ask("Page.captureScreenshot", params);
    let text = answer["data"].as_str().unwrap();
    fs::write(std::path::Path::new(&dir).join(format!("{name}.base64")), text).unwrap();
}

#[test]
fn the_page_of_the_administration_shows_what_happens_and_a_function_answers() {
    let Some(mut browser) = Browser::start() else {
        eprintln!("skipped: no browser is installed (Debian's package chromium has one)");
        return;
    };
    let store = Store::new();
    let html = "Content-Type: text/html\n\n<title>t</title><h1 id=said>hello</h1>";
    store.function("hello", &guests::prints(html));
    store.function("writes", &guests::writes(&[20, 33])).function("traps", &guests::traps(""));
    let (server, token) = server(&store);

    browser.open(&format!("http://{}/hello", server.addr));
    assert_eq!(browser.value("document.getElementById('said').textContent"), "hello");

    browser.open(&format!("http://{}/", server.admin()));
    browser.wait("!document.getElementById('ask').hidden");
    let say =
        |token: &str| format!("byId('token').value = '{token}'; byId('ask').requestSubmit(); true");
    browser.value(&say("not the token"));
    browser.wait("byId('state').textContent === 'That is not the token.'");
    // Those are the refusals, without a token and with a wrong one.
    let errors = browser.errors();
    assert!(errors.iter().all(|error| error.contains("status of 401")), "{errors:?}");
    browser.value(&say(&token));
    let shows = |name: &str| {
        format!("[...document.querySelectorAll('h2')].some(h => h.textContent === '{name}')")
    };
    browser.wait(&shows("writes"));
    assert_eq!(server.get("/traps").status, 502);
    let shown = "[...document.querySelectorAll('section')].find(s => s.firstChild.textContent === 'writes')";
    let map = format!("{shown}.querySelector('.map')");
    let begun = std::time::Instant::now();
    while browser.value(&format!("!{map}.hidden")) != true {
        assert!(begun.elapsed() < crate::server::DEADLINE, "no map");
        assert_eq!(server.get("/writes").status, 200);
    }
    let label = browser.value(&format!("{map}.querySelector('canvas').getAttribute('aria-label')"));
    assert!(label.as_str().unwrap().starts_with("3 of 64 pages of 4 KiB;"), "{label}");
    // Page 20 has the colour of the bars, page 21 that of lines.
    let colour = |page: u32| {
        format!(
            "(() => {{ const c = {map}.querySelector('canvas'), s = c.width / 32;\
             const d = c.getContext('2d').getImageData({page} * s + s / 3, s / 3, 1, 1).data;\
             return '#' + [...d].slice(0, 3).map(b => b.toString(16).padStart(2, '0')).join(''); }})()"
        )
    };
    let variable = |name: &str| {
        format!("getComputedStyle(document.documentElement).getPropertyValue('{name}')")
    };
    for (scheme, width) in [("light", 1200), ("dark", 1200), ("light", 380), ("dark", 380)] {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.ask("Emulation.setEmulatedMedia", json!({ "features": features }));
        let size =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        browser.ask("Emulation.setDeviceMetricsOverride", size);
        for (page, name) in [(20, "--bar"), (21, "--line")] {
            browser.wait(&format!("{} === {}", colour(page), variable(name)));
        }
        let wide = browser.value("document.documentElement.scrollWidth");
        assert!(wide.as_u64() <= Some(width), "{scheme}, {width}: {wide}");
        picture(&mut browser, &format!("{scheme}-{width}"));
    }
    // What a guest has said is text.
    browser.wait("document.querySelectorAll('details summary').length > 0");
    assert_eq!(browser.errors(), Vec::<String>::new());
}
