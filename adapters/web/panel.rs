//! The panel's files, in the binary.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::hash::{DefaultHasher, Hasher};

/// What may load and run: our own files and nothing else.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'self'";

macro_rules! files {
    ($($name:literal,)*) => {
        const FILES: &[(&str, &[u8])] = &[$(($name, include_bytes!(concat!("../../web/", $name))),)*];
    };
}

files! {
    "action.js",
    "admin-style.js",
    "admin.html",
    "admin.js",
    "alerts.js",
    "announcer.js",
    "blf-key.js",
    "chart.js",
    "details.js",
    "directory.js",
    "explain.js",
    "feed.js",
    "filters.js",
    "grid.js",
    "i18n.js",
    "icon.svg",
    "icons.js",
    "index.css",
    "index.html",
    "key.js",
    "me.js",
    "memory.js",
    "menu.js",
    "page.js",
    "panel.js",
    "server.js",
    "settings.js",
    "signin.js",
    "store.js",
    "style.js",
    "table.js",
    "tabs.js",
    "text-de.js",
    "text-en.js",
    "text-es.js",
    "text-fr.js",
    "theme.js",
    "view.js",
    "window.js",
}

/// `/panel/{file}`; the empty name is `index.html`.
pub(crate) async fn file(path: Option<Path<String>>, headers: HeaderMap) -> Response {
    let name = path.as_ref().map_or("index.html", |Path(name)| name);
    let Some((name, bytes)) = FILES.iter().find(|(one, _)| *one == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let fixed = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    if crate::http::matches(&headers, &tag) {
        return (StatusCode::NOT_MODIFIED, fixed, [(header::ETAG, tag)]).into_response();
    }
    (fixed, [(header::ETAG, tag), (header::CONTENT_TYPE, mime(name).into())], *bytes).into_response()
}

fn mime(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Every file of the panel is listed, tests and tools aside.
    #[test]
    fn no_file_is_forgotten() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.') && name != "package.json" && !name.ends_with(".md"))
            .filter(|name| !name.contains(".test."))
            .collect();
        names.sort();
        let mut listed: Vec<_> = FILES.iter().map(|(name, _)| *name).collect();
        listed.sort_unstable();
        assert_eq!(listed, names);
        assert!(listed.iter().all(|name| mime(name) != "application/octet-stream"));
    }
}
