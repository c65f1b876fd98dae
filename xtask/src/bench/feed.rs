//! The feed beside nginx, which serves the same files (the limit), and `nuget-server`, a NuGet V3 server on
//! Node.js (the peer).
//!
//! Servers run on processor 0 and the client on processor 1, so figures are "per core"; pushes, whose work
//! is hashing and syncing, may use both.

mod client;
mod servers;
mod steady;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::figure::{Bar, Figure, Of, Samples, all_held, missed};
use crate::tools::{self, fresh, need, target};
use client::Wrk;
use servers::{Feed, Nginx, NugetServer, Server};
use steady::Steady;

/// Rounds of every figure; the sides take turns within each.
const ROUNDS: usize = 7;

/// Packages that a search looks through.
const PACKAGES: usize = 1_000;

/// Connections of a client that fetches small documents, and of one that fetches large packages.
const CONNECTIONS: usize = 32;
const CONNECTIONS_LARGE: usize = 8;

/// How long one round of a steady load takes.
const STEADY: Duration = Duration::from_secs(1);

/// Clients that push at the same time.
const PUSHERS: usize = 8;

/// Packages that every client pushes in one round, and large ones.
const PUSHES: usize = 40;
const PUSHES_LARGE: usize = 3;

/// Contents of a small and of a large package.
const SMALL_BYTES: usize = 3_200;
const LARGE_BYTES: usize = 5 << 20;

/// The most memory that the feed may ever have taken when all is done.
const MEMORY_KIB_MAX: f64 = (60 << 10) as f64;

/// What the bench measures beside memory, in this order.
const PARTS: [(&str, Part); 3] = [
    ("downloads", Sides::downloads),
    ("searches", Sides::searches),
    ("pushes", Sides::pushes),
];

/// A part of the bench.
type Part = fn(&Sides, &mut Vec<Figure<'static>>) -> Result<()>;

/// Measures downloads, searches, pushes and memory, or one of the first three and memory; fails after all
/// figures when one missed its bar.
pub(crate) fn feed(as_json: bool, only: Option<&str>) -> Result<()> {
    let parts = PARTS.iter();
    let parts: Vec<_> = parts
        .filter(|(name, _)| only.is_none_or(|only| only == *name))
        .collect();
    ensure!(
        !parts.is_empty(),
        "the parts of this bench are downloads, searches, pushes"
    );
    need(&[
        tools::NGINX,
        tools::WRK,
        tools::NPM,
        tools::TASKSET,
        tools::C_COMPILER,
    ])?;
    let directory = fresh(target().join("bench-feed"))?;

    let mut sides = Sides::start(&directory)?;
    sides.fill()?;
    let mut figures = Vec::new();
    for (_, part) in parts {
        part(&sides, &mut figures)?;
    }
    figures.push(Figure {
        name: "feedMemory",
        unit: "KiB",
        ours: Samples::new(vec![sides.feed.process().peak_kib()?]),
        peer: Some((
            "nuget-server",
            Samples::new(vec![sides.nuget.process().peak_kib()?]),
        )),
        limit: None,
        bars: vec![Bar::Most(MEMORY_KIB_MAX, Of::Units)],
    });
    all_held(&missed(&figures, as_json))
}

/// The three servers.
struct Sides {
    directory: PathBuf,
    feed: Feed,
    nginx: Nginx,
    nuget: NugetServer,
}

/// What one side did in a round.
#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    cpu: Vec<f64>,
}

impl Rounds {
    fn rate(&self) -> Samples {
        Samples::new(self.rates.clone())
    }

    fn cpu(&self) -> Samples {
        Samples::new(self.cpu.clone())
    }

    /// Runs the client once and notes its rate and what a request cost the server.
    fn add(&mut self, server: &dyn Server, wrk: &Wrk<'_>) -> Result<()> {
        let before = server.process().cpu()?;
        let run = wrk.run()?;
        let spent = server.process().cpu()?.saturating_sub(before);
        self.rates.push(run.rate);
        self.cpu.push(spent.as_secs_f64() * 1e6 / run.requests);
        Ok(())
    }
}

impl Sides {
    fn start(directory: &Path) -> Result<Self> {
        Ok(Self {
            directory: directory.to_owned(),
            feed: Feed::start(&directory.join("feed"))?,
            nginx: Nginx::start(&directory.join("nginx"))?,
            nuget: NugetServer::start(&directory.join("nuget-server"))?,
        })
    }

    /// Gives every side the same packages and checks that all answer with them.
    fn fill(&mut self) -> Result<()> {
        for number in 0..PACKAGES {
            let package = package(&searched(number), "1.0.0", SMALL_BYTES)?;
            client::push(&self.feed, &package)?;
            client::push(&self.nuget, &package)?;
        }
        for (id, bytes) in [("Bench.Small", SMALL_BYTES), ("Bench.Large", LARGE_BYTES)] {
            let package = package(id, "1.0.0", bytes)?;
            client::push(&self.feed, &package)?;
            client::push(&self.nuget, &package)?;
            self.nginx.add(&nupkg_path(id), &package)?;
            for server in [
                &self.feed as &dyn Server,
                &self.nginx as &dyn Server,
                &self.nuget,
            ] {
                let found = client::get(&server.package_url(id))?;
                ensure!(found == package, "{} has another `{id}`", server.name());
            }
        }
        let hits = |server: &dyn Server| -> Result<u64> {
            let url = format!("{}?q={}", server.search_url(), searched(7));
            let answer: serde_json::Value = serde_json::from_slice(&client::get(&url)?)?;
            answer["totalHits"].as_u64().context("no totalHits")
        };
        for server in [&self.feed as &dyn Server, &self.nuget] {
            ensure!(hits(server)? == 1, "{} finds wrongly", server.name());
        }
        Ok(())
    }

    /// Downloads one package from all three; figures of the rate and of the servers' processor time.
    fn packages(
        &self,
        figures: &mut Vec<Figure<'static>>,
        [rate, cpu]: [&'static str; 2],
        id: &str,
        connections: usize,
        bars: Vec<Bar>,
    ) -> Result<()> {
        let (mut ours, mut limit, mut peer) =
            (Rounds::default(), Rounds::default(), Rounds::default());
        for _ in 0..ROUNDS {
            for (server, rounds) in [
                (&self.nginx as &dyn Server, &mut limit),
                (&self.feed, &mut ours),
                (&self.nuget, &mut peer),
            ] {
                let url = server.package_url(id);
                rounds.add(server, &Wrk::new(&url, connections))?;
            }
        }
        figures.push(Figure {
            name: rate,
            unit: "1/s",
            ours: ours.rate(),
            peer: Some(("nuget-server", peer.rate())),
            limit: Some(("nginx", limit.rate())),
            bars,
        });
        figures.push(Figure {
            name: cpu,
            unit: "us",
            ours: ours.cpu(),
            peer: Some(("nuget-server", peer.cpu())),
            limit: Some(("nginx", limit.cpu())),
            bars: Vec::new(),
        });
        Ok(())
    }

    fn downloads(&self, figures: &mut Vec<Figure<'static>>) -> Result<()> {
        let bars = vec![Bar::Least(0.6, Of::Limit), Bar::Least(20.0, Of::Peer)];
        let names = ["feedGetSmall", "feedGetSmallCpu"];
        self.packages(figures, names, "Bench.Small", CONNECTIONS, bars)?;

        let (mut ours, mut small, mut peer) =
            (Rounds::default(), Rounds::default(), Rounds::default());
        let versions = "/v3/flat/bench.small/index.json";
        for _ in 0..ROUNDS {
            let url = self.nginx.package_url("Bench.Small");
            small.add(&self.nginx, &Wrk::new(&url, CONNECTIONS))?;
            let url = self.feed.url(versions);
            ours.add(&self.feed, &Wrk::new(&url, CONNECTIONS))?;
            let url = self.nuget.url("/v3/package/bench.small/index.json");
            peer.add(&self.nuget, &Wrk::new(&url, CONNECTIONS))?;
        }
        figures.push(Figure {
            name: "feedGetVersions",
            unit: "1/s",
            ours: ours.rate(),
            peer: Some(("nuget-server", peer.rate())),
            limit: Some(("nginx, small file", small.rate())),
            bars: vec![Bar::Least(0.5, Of::Limit)],
        });

        let bars = vec![Bar::Least(0.85, Of::Limit)];
        let names = ["feedGetLarge", "feedGetLargeCpu"];
        self.packages(figures, names, "Bench.Large", CONNECTIONS_LARGE, bars)?;
        Ok(())
    }

    fn searches(&self, figures: &mut Vec<Figure<'static>>) -> Result<()> {
        let queries: Vec<String> = (0..PACKAGES)
            .step_by(7)
            .flat_map(|number| [searched(number), word(number).to_owned()])
            .collect();
        let (mut ours, mut peer) = (Rounds::default(), Rounds::default());
        for _ in 0..ROUNDS {
            for (server, rounds) in [
                (&self.feed as &dyn Server, &mut ours),
                (&self.nuget, &mut peer),
            ] {
                let url = server.search_url();
                rounds.add(server, &Wrk::new(&url, CONNECTIONS).with_queries(&queries))?;
            }
        }
        let url = self.feed.search_url();
        let load = Steady {
            url: &url,
            queries: &queries,
            rate: ours.rate().median() * 0.8,
            connections: CONNECTIONS,
            duration: STEADY,
        };
        let (mut answer, mut late) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let times = load.run()?;
            answer.push(times.answer);
            late.push(times.late);
        }
        figures.push(Figure {
            name: "feedSearch",
            unit: "1/s",
            ours: ours.rate(),
            peer: Some(("nuget-server", peer.rate())),
            limit: None,
            bars: vec![Bar::Least(50.0, Of::Peer)],
        });
        figures.push(Figure {
            name: "feedSearchP99At80Percent",
            unit: "ms",
            ours: Samples::new(answer),
            peer: None,
            limit: None,
            bars: vec![Bar::Most(5.0, Of::Units)],
        });
        // A client that is late measures itself; what it is late is in the figure above.
        figures.push(Figure {
            name: "feedSearchClientLateP99",
            unit: "ms",
            ours: Samples::new(late),
            peer: None,
            limit: None,
            bars: Vec::new(),
        });
        Ok(())
    }

    fn pushes(&self, figures: &mut Vec<Figure<'static>>) -> Result<()> {
        for (name, bytes, count, least) in [
            ("feedPushSmall", SMALL_BYTES, PUSHES, 500.0),
            ("feedPushLarge", LARGE_BYTES, PUSHES_LARGE, 89.0),
        ] {
            // The processor is free for all while it is hashed.
            for server in [&self.feed as &dyn Server, &self.nuget] {
                server.process().pin("0,1")?;
            }
            let (mut ours, mut peer, mut limit) = (Vec::new(), Vec::new(), Vec::new());
            for round in 0..ROUNDS {
                let packages = (0..PUSHERS).map(|client| {
                    let own = (0..count).map(|number| {
                        let id = format!("{name}.R{round}.C{client}.N{number}");
                        package(&id, "1.0.0", bytes)
                    });
                    own.collect::<Result<Vec<_>>>()
                });
                let packages = packages.collect::<Result<Vec<_>>>()?;
                // What one side leaves unsynced must not be the next one's work.
                rustix::fs::sync();
                ours.push(client::push_all(&self.feed, &packages)?);
                rustix::fs::sync();
                peer.push(client::push_all(&self.nuget, &packages)?);
                rustix::fs::sync();
                limit.push(client::write_all(&self.directory.join("limit"), &packages)?);
            }
            figures.push(Figure {
                name,
                unit: "1/s",
                ours: Samples::new(ours),
                peer: Some(("nuget-server, not synced", Samples::new(peer))),
                limit: Some(("written and synced", Samples::new(limit))),
                bars: vec![Bar::Least(least, Of::Units)],
            });
        }
        Ok(())
    }
}

/// The id of a package that searches look for.
fn searched(number: usize) -> String {
    format!("Search.K{number:05}")
}

/// A word that about twenty of the packages have in their description.
fn word(number: usize) -> &'static str {
    const WORDS: [&str; 48] = [
        "amber", "basalt", "cedar", "delta", "ember", "fjord", "garnet", "harbor", "indigo",
        "jasper", "kelp", "lagoon", "marble", "nectar", "onyx", "pebble", "quartz", "raven",
        "saffron", "tundra", "umber", "velvet", "willow", "xenon", "yarrow", "zephyr", "acorn",
        "birch", "cobalt", "dahlia", "elm", "fern", "granite", "hazel", "iris", "juniper", "krill",
        "lotus", "maple", "nimbus", "opal", "poppy", "quince", "reed", "slate", "thistle", "ursa",
        "violet",
    ];
    WORDS[number % WORDS.len()]
}

/// Contents of packages, which do not compress.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| noise(LARGE_BYTES));

fn noise(bytes: usize) -> Vec<u8> {
    let mut state: u32 = 2_463_534_242;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    });
    words.take(bytes / 4).flatten().collect()
}

/// Makes a package that its metadata tells from all others.
fn package(id: &str, version: &str, bytes: usize) -> Result<Vec<u8>> {
    let number: usize = id.bytes().map(usize::from).sum();
    let nuspec = klusterkite_nuget::Nuspec::new(
        id.parse().map_err(|_| anyhow::anyhow!("`{id}` is no id"))?,
        version
            .parse()
            .map_err(|_| anyhow::anyhow!("`{version}` is no version"))?,
        "Bench",
        &format!(
            "the service {} of the bench, package {id}",
            word(id.trim_start_matches("Search.K").parse().unwrap_or(number))
        ),
    );
    let contents = NOISE[..bytes].to_vec();
    Ok(klusterkite_nuget::PackageBuilder::new(nuspec)
        .file("content/noise.bin", contents, false)
        .to_bytes()?)
}

fn nupkg_path(id: &str) -> String {
    let id = id.to_lowercase();
    format!("/v3/flat/{id}/1.0.0/{id}.1.0.0.nupkg")
}
