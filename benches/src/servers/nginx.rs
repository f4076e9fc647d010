//! nginx with `proxy_cache`: objects are files, which the kernel keeps in the page cache.
//!
//! `sendfile` is off because it is slower here: on loopback, large output buffers took less CPU at every
//! length, and `tcp_nopush` waits for delayed acknowledgements where a segment holds 64 KiB.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::{Listening, Setup, free_addr, wait_until_listening};
use crate::process::Process;

pub(super) fn start(setup: &Setup, dir: &Path) -> Result<Listening> {
    let (http, https) = (free_addr()?, free_addr()?);
    let config = dir.join("nginx.conf");
    std::fs::write(&config, text(setup, dir, &http.to_string(), &https.to_string()))?;
    let mut command = Command::new(&setup.programs.nginx);
    command.arg("-p").arg(dir).arg("-c").arg(&config).arg("-e").arg(dir.join("error.log"));
    let mut process = Process::start("nginx", setup.cores.server, &command, dir)?;
    wait_until_listening(&mut process, http)?;
    Ok(Listening { process, http, https: Some(https) })
}

fn text(setup: &Setup, dir: &Path, http: &str, https: &str) -> String {
    // A master that is root would give its worker to another user, who cannot read a private directory.
    let user = if is_root() { "user root;" } else { "" };
    let dir = dir.display();
    format!(
        r#"{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {dir}/nginx.pid;
events {{
    worker_connections 16384;
    multi_accept on;
}}
http {{
    access_log off;
    default_type application/octet-stream;
    server_tokens off;
    sendfile off;
    output_buffers 1 256k;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    open_file_cache max=10000 inactive=10m;
    open_file_cache_valid 10m;
    client_body_temp_path {dir}/client_body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    proxy_cache_path {dir}/cache levels=1:2 keys_zone=objects:512m max_size={memory} inactive=1d use_temp_path=off;
    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    upstream origin {{
        server {origin};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {http} backlog=4096;
        listen {https} ssl backlog=4096;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache objects;
            proxy_cache_lock on;
            add_header X-Cache $upstream_cache_status;
        }}
    }}
}}
"#,
        memory = setup.memory_bytes,
        cert = setup.identity.cert_file.display(),
        key = setup.identity.key_file.display(),
        origin = setup.origin,
    )
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
