//! Generated configurations.

use std::fmt::Write;

/// Writes the configuration of many services, of at least so many bytes, as people write them.
pub(crate) fn services(size_bytes: usize, substitutions: bool) -> String {
    let mut text = String::from(DEFAULTS);
    let mut number = 0;
    while text.len() < size_bytes {
        service(&mut text, number, substitutions).expect("strings take all text");
        number += 1;
    }
    text
}

const DEFAULTS: &str = "\
# What all services have in common.
defaults {
  host = \"services.example.org\"
  scheme = https
  database { driver = postgres, host = \"db.example.org\", port = 5432, pool { minimum = 2, maximum = 16 } }
}
";

fn service(text: &mut String, number: usize, substitutions: bool) -> std::fmt::Result {
    let port = 8000 + number % 1000;
    writeln!(text, "\n// Service {number} and what it needs.")?;
    writeln!(text, "services.service-{number} {{")?;
    writeln!(text, "  name = \"Acme.Service{number}\"")?;
    writeln!(text, "  listen = \"0.0.0.0:{port}\"")?;
    if substitutions {
        writeln!(
            text,
            "  url = ${{defaults.scheme}}\"://\"${{defaults.host}}\":{port}/api/v1/service-{number}\""
        )?;
        writeln!(
            text,
            "  database = ${{defaults.database}} {{ name = service_{number}, pool.maximum = 32 }}"
        )?;
        writeln!(text, "  log.level = ${{?SERVICE_{number}_LOG_LEVEL}}")?;
    } else {
        writeln!(
            text,
            "  url = \"https://services.example.org:{port}/api/v1/service-{number}\""
        )?;
        writeln!(
            text,
            "  database {{ driver = postgres, host = \"db.example.org\", port = 5432, name = service_{number} }}"
        )?;
        writeln!(text, "  log.level = info")?;
    }
    writeln!(text, "  timeout = 30 seconds")?;
    writeln!(
        text,
        "  retries {{ count = 5, delay = 250ms, factor = 1.5 }}"
    )?;
    writeln!(text, "  enabled = true")?;
    writeln!(text, "  tags = [web, eu-1, \"tier {}\"]", number % 4)?;
    writeln!(text, "  endpoints = [")?;
    writeln!(
        text,
        "    {{ route = \"/api/v1/service-{number}\", port = {port}, public = true }}"
    )?;
    writeln!(
        text,
        "    {{ route = \"/admin\", port = {port}, public = false }}"
    )?;
    writeln!(text, "  ]")?;
    writeln!(text, "}}")
}

/// Writes `a.kN=1` on so many lines.
pub(crate) fn keys(lines: usize) -> String {
    (0..lines).fold(String::new(), |mut text, number| {
        writeln!(text, "a.k{number}=1").expect("strings take all text");
        text
    })
}

/// Writes `a += 1` on so many lines.
pub(crate) fn appends(lines: usize) -> String {
    "a += 1\n".repeat(lines)
}
