//! Connections: one pool for each route.

use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

use super::super::options::HubOptions;
use super::super::proxy::{Proxies, Route};

/// The most header bytes of one response; signed URLs take a few KiB.
const MAX_HEADERS: usize = 64 << 10;

/// The connections of each route. Certificates are read once for each that is used.
pub(super) struct Agents {
    direct: Agent,
    http: Agent,
    https: Agent,
}

impl Agents {
    pub(super) fn new(options: &HubOptions, proxies: &Proxies) -> Agents {
        let through = |proxy| agent(options, proxy);
        Agents { direct: through(None), http: through(proxies.http.clone()), https: through(proxies.https.clone()) }
    }

    pub(super) fn on(&self, route: Route) -> &Agent {
        match route {
            Route::Direct => &self.direct,
            Route::Http => &self.http,
            Route::Https => &self.https,
        }
    }

    pub(super) fn shutdown(self) {
        [self.direct, self.http, self.https].into_iter().for_each(Agent::shutdown);
    }
}

fn agent(options: &HubOptions, proxy: Option<Proxy>) -> Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let seconds = |s| Some(Duration::from_secs(s));
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy)
        .user_agent(concat!("mlx-engine/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Compressed responses have no length and no ranges.
        .accept_encoding("identity")
        .max_response_header_size(MAX_HEADERS)
        .timeout_resolve(Some(options.connect))
        .timeout_connect(Some(options.connect))
        .timeout_send_request(seconds(30))
        .timeout_recv_response(Some(options.stall.max(Duration::from_secs(1)) + Duration::from_secs(10)))
        .timeout_per_read(Some(options.stall))
        .timeout_per_write(Some(options.stall))
        .max_idle_connections(64)
        .max_idle_connections_per_host(options.connections.max(1))
        .input_buffer_size(256 << 10)
        .output_buffer_size(16 << 10)
        .build();
    config.new_agent()
}
