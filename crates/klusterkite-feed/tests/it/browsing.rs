//! What clients and people look at.

use klusterkite_nuget::v3::{PackageFacts, ServiceIndex};
use klusterkite_nuget::{
    Dependency, DependencyGroup, PackageBuilder, PackageType, Sha256Hash, Sha512Hash,
};
use serde_json::{Value, json};

use crate::harness::{ADMIN, TestFeed, nuspec, package};

#[test]
fn the_service_index_names_every_resource_absolutely() {
    let feed = TestFeed::start("");
    let index: ServiceIndex = serde_json::from_slice(&feed.get("/v3/index.json").body).unwrap();
    assert_eq!(index.version, "3.0.0");
    for kind in [
        "PackageBaseAddress/3.0.0",
        "RegistrationsBaseUrl",
        "RegistrationsBaseUrl/3.0.0-beta",
        "RegistrationsBaseUrl/3.4.0",
        "RegistrationsBaseUrl/3.6.0",
        "RegistrationsBaseUrl/Versioned",
        "SearchQueryService/3.0.0-beta",
        "SearchQueryService/3.5.0",
        "SearchAutocompleteService/3.0.0-beta",
        "PackagePublish/2.0.0",
        "KlusterKitePackageFacts/1.0.0",
    ] {
        let url = index
            .resource(&[kind])
            .unwrap_or_else(|| panic!("{kind} is missing"));
        assert!(url.starts_with(&feed.url("/")), "{kind}: {url}");
    }
    assert_eq!(index.resource(&["RepositorySignatures/5.0.0"]), None);
}

#[test]
fn addresses_follow_the_proxy_or_the_settings() {
    let feed = TestFeed::start("trustedProxies = [127.0.0.1]");
    let proxied = [
        ("X-NuGet-ApiKey", ADMIN),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "packages.example.org"),
    ];
    let index: ServiceIndex = serde_json::from_slice(
        &feed
            .call("GET", "/v3/index.json", &proxied, Vec::new())
            .body,
    )
    .unwrap();
    assert_eq!(
        index.package_base_address(),
        Some("https://packages.example.org/v3/flat")
    );

    let feed = TestFeed::start("publicUrl = \"https://feed.example.org/nuget/\"");
    let index: ServiceIndex = serde_json::from_slice(&feed.get("/v3/index.json").body).unwrap();
    assert_eq!(
        index.package_base_address(),
        Some("https://feed.example.org/nuget/v3/flat")
    );
}

#[test]
fn the_flat_container_lists_versions_lowest_first() {
    let feed = TestFeed::start("");
    for version in ["10.0.0", "2.0.0", "2.0.0-RC.1", "1.0.0.1"] {
        assert_eq!(feed.push(&package("Acme.A", version)).status, 201);
    }
    let versions = feed.get("/v3/flat/ACME.A/index.json").json();
    assert_eq!(
        versions,
        json!({"versions": ["1.0.0.1", "2.0.0-rc.1", "2.0.0", "10.0.0"]})
    );
    assert_eq!(feed.get("/v3/flat/other/index.json").code(), "notFound");
    let nuspec = feed.get("/v3/flat/acme.a/2.0.0/acme.a.nuspec");
    assert!(
        String::from_utf8(nuspec.body)
            .unwrap()
            .contains("<id>Acme.A</id>")
    );
    for path in [
        "/v3/flat/acme.a/3.0.0/acme.a.3.0.0.nupkg",
        "/v3/flat/acme.a/2.0.0/other.2.0.0.nupkg",
        "/v3/flat/acme.a/2.0.0/..%2f..%2findex.sqlite",
        "/v3/flat/..%2f/index.json",
    ] {
        assert_eq!(feed.get(path).code(), "notFound", "{path}");
    }
}

#[test]
fn facts_tell_everything_that_a_check_needs() {
    let feed = TestFeed::start("");
    let mut described = nuspec("Acme.Orders", "1.2.0");
    described.dependency_groups = vec![DependencyGroup {
        target_framework: None,
        dependencies: vec![Dependency {
            id: "Acme.Base".parse().unwrap(),
            range: "[1.0,2.0)".parse().unwrap(),
            include: None,
            exclude: None,
        }],
    }];
    let bytes = PackageBuilder::new(described)
        .manifest("roles = [orders]\n")
        .file("runtimes/linux-x64/native/orders", "program", true)
        .to_bytes()
        .unwrap();
    feed.push(&bytes);
    let answer = feed.get("/v3/facts/acme.orders/1.2.0.json");
    let facts: PackageFacts = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(facts.id.as_str(), "Acme.Orders");
    assert_eq!(
        (facts.sha512, facts.size),
        (Sha512Hash::of(&bytes), bytes.len() as u64)
    );
    assert!(facts.listed);
    assert_eq!(facts.manifest.as_deref(), Some("roles = [orders]\n"));
    assert_eq!(
        facts.dependency_groups[0].dependencies[0]
            .range
            .as_ref()
            .unwrap()
            .to_string(),
        "[1.0.0, 2.0.0)"
    );
    let program = facts
        .files
        .iter()
        .find(|file| file.path.ends_with("/orders"))
        .unwrap();
    assert_eq!(
        (program.size, program.sha256),
        (7, Sha256Hash::of(b"program"))
    );
    assert_eq!(
        answer.json()["published"].as_str().unwrap().len(),
        "2026-01-01T00:00:00.000Z".len()
    );
    assert_eq!(
        feed.get("/v3/facts/acme.orders/9.0.0.json").code(),
        "notFound"
    );
    assert_eq!(feed.get("/v3/facts/acme.orders/1.2.0").code(), "notFound");
}

/// Follows a link of the feed.
fn follow(feed: &TestFeed, link: &Value) -> Value {
    let path = link
        .as_str()
        .unwrap()
        .strip_prefix(&feed.url(""))
        .expect("the link is the feed's")
        .to_owned();
    let answer = feed.get(&path);
    assert_eq!(answer.status, 200, "{path}");
    answer.json()
}

#[test]
fn registrations_have_metadata_and_links_that_lead_somewhere() {
    let feed = TestFeed::start("");
    feed.push(&package("Acme.A", "1.0.0"));
    feed.push(&package("Acme.A", "2.0.0-rc.1"));
    let index = feed.get("/v3/registration/acme.a/index.json").json();
    assert_eq!(index["count"], 1);
    let page = &index["items"][0];
    assert_eq!(
        (&page["lower"], &page["upper"]),
        (&json!("1.0.0"), &json!("2.0.0-rc.1"))
    );
    let item = &page["items"][1];
    assert_eq!(item["catalogEntry"]["id"], "Acme.A");
    assert_eq!(item["catalogEntry"]["version"], "2.0.0-rc.1");
    assert_eq!(item["catalogEntry"]["authors"], "Acme, Other");
    assert_eq!(follow(&feed, &page["@id"])["count"], 2);
    assert_eq!(
        follow(&feed, &item["catalogEntry"]["@id"])["version"],
        "2.0.0-rc.1"
    );
    let leaf = follow(&feed, &item["@id"]);
    assert_eq!(
        (&leaf["listed"], &leaf["packageContent"]),
        (&json!(true), &item["packageContent"])
    );
    assert_eq!(follow(&feed, &leaf["registration"]), index);
    assert_eq!(
        feed.get("/v3/registration/other/index.json").code(),
        "notFound"
    );
}

#[test]
fn many_versions_come_in_pages() {
    let feed = TestFeed::start("");
    for patch in 0..130 {
        assert_eq!(
            feed.push(&package("Acme.A", &format!("1.0.{patch}")))
                .status,
            201
        );
    }
    let index = feed.get("/v3/registration/acme.a/index.json").json();
    let pages = index["items"].as_array().unwrap();
    assert_eq!(pages.len(), 3);
    assert!(pages.iter().all(|page| page.get("items").is_none()));
    let mut versions = Vec::new();
    for page in pages {
        let document = follow(&feed, &page["@id"]);
        for item in document["items"].as_array().unwrap() {
            versions.push(item["catalogEntry"]["version"].as_str().unwrap().to_owned());
        }
    }
    let expected: Vec<String> = (0..130).map(|patch| format!("1.0.{patch}")).collect();
    assert_eq!(versions, expected);
    assert_eq!(
        feed.get("/v3/registration/acme.a/page/9.0.0/9.1.0.json")
            .code(),
        "notFound"
    );
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["id"].as_str().unwrap())
        .collect()
}

#[test]
fn searches_find_by_words_fields_and_options() {
    let feed = TestFeed::start("");
    let push = |id: &str, version: &str, tags: &[&str], kind: Option<&str>| {
        let mut described = nuspec(id, version);
        described.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        described.package_types = kind
            .map(|name| PackageType {
                name: name.to_owned(),
                version: None,
            })
            .into_iter()
            .collect();
        let bytes = PackageBuilder::new(described)
            .manifest("")
            .to_bytes()
            .unwrap();
        assert_eq!(feed.push(&bytes).status, 201);
    };
    push("Acme.Orders", "1.0.0", &["shop", "Web"], None);
    push("Acme.Orders", "2.0.0-beta", &["shop"], None);
    push("Acme.Orders.Db", "1.0.0", &["shop"], None);
    push("Orders", "1.0.0", &[], Some("DotnetTool"));
    push("Clock", "1.0.0-rc.1", &[], None);
    let search = |query: &str| feed.get(&format!("/v3/search?{query}")).json();

    let all = ["Acme.Orders", "Acme.Orders.Db", "Orders"];
    assert_eq!(ids(&search("")), all);
    assert_eq!(
        ids(&search("prerelease=true&semVerLevel=2.0.0")),
        ["Acme.Orders", "Acme.Orders.Db", "Clock", "Orders"]
    );
    // Clients that do not know SemVer 2 do not see dotted labels.
    assert_eq!(ids(&search("prerelease=true")), all);
    assert_eq!(
        ids(&search("q=orders")),
        ["Orders", "Acme.Orders", "Acme.Orders.Db"]
    );
    assert_eq!(ids(&search("q=ACME+db")), ["Acme.Orders.Db"]);
    assert_eq!(ids(&search("q=packageId:Acme.Orders")), ["Acme.Orders"]);
    assert_eq!(ids(&search("q=tags:web")), ["Acme.Orders"]);
    assert_eq!(ids(&search("q=tags:we")), Vec::<&str>::new());
    assert_eq!(ids(&search("q=author:other+id:db")), ["Acme.Orders.Db"]);
    assert_eq!(ids(&search("packageType=dotnettool")), ["Orders"]);
    assert_eq!(ids(&search("q=%27%20OR%201=1%20--")), Vec::<&str>::new());

    let page = search("skip=1&take=1");
    assert_eq!(
        (ids(&page), &page["totalHits"]),
        (vec!["Acme.Orders.Db"], &json!(3))
    );
    let hit = &search("q=packageid:acme.orders&prerelease=true&semVerLevel=2.0.0")["data"][0];
    assert_eq!(hit["version"], "2.0.0-beta");
    assert_eq!(hit["versions"].as_array().unwrap().len(), 2);
    assert_eq!(follow(&feed, &hit["registration"])["count"], 1);
    assert_eq!(feed.get("/v3/search?take=many").code(), "badRequest");

    let complete = |query: &str| feed.get(&format!("/v3/autocomplete?{query}")).json();
    assert_eq!(
        complete("q=acme"),
        json!({"totalHits": 2, "data": ["Acme.Orders", "Acme.Orders.Db"]})
    );
    assert_eq!(complete("id=acme.orders"), json!({"data": ["1.0.0"]}));
    assert_eq!(
        complete("id=acme.orders&prerelease=true"),
        json!({"data": ["1.0.0", "2.0.0-beta"]})
    );
    assert_eq!(complete("id=nothing"), json!({"data": []}));
}

#[test]
fn a_package_without_a_manifest_is_a_package() {
    let feed = TestFeed::start("");
    let bytes = PackageBuilder::new(nuspec("Plain", "1.0.0"))
        .file("content/a", "1", false)
        .to_bytes()
        .unwrap();
    assert_eq!(feed.push(&bytes).status, 201);
    assert_eq!(
        feed.get("/v3/facts/plain/1.0.0.json")
            .json()
            .get("manifest"),
        None
    );
}

#[test]
fn every_refusal_is_a_problem_document() {
    let feed = TestFeed::start("");
    feed.push(&package("Acme.A", "1.0.0"));
    let call = |method: &str, path: &str, headers: &[(&str, &str)]| {
        let headers = [&[("X-NuGet-ApiKey", ADMIN)][..], headers].concat();
        let answer = feed.call(method, path, &headers, Vec::new());
        (answer.status, answer.code())
    };
    let nupkg = "/v3/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg";
    assert_eq!(call("GET", "/v3/flat/%FF/index.json", &[]).0, 400);
    assert_eq!(
        call("POST", "/v3/index.json", &[]),
        (405, "methodUnknown".to_owned())
    );
    assert_eq!(call("PATCH", "/nowhere", &[]), (404, "notFound".to_owned()));
    assert_eq!(call("GET", nupkg, &[("Range", "bytes=9999999-")]).0, 416);
}
