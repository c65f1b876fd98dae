//! The packages that are resolved.

use klusterkite_nuget::{
    Dependency, DependencyGroup, Nuspec, PackageBuilder, PackageId, Version, VersionRange,
};

pub(crate) const PACKAGES: usize = 1000;

pub(crate) fn id(number: usize) -> PackageId {
    format!("Dep.K{number:04}").parse().unwrap()
}

/// Lists what each package needs: a tree in which package 0 reaches all, with two more for each.
pub(crate) fn needs() -> Vec<Vec<usize>> {
    let mut needs: Vec<Vec<usize>> = vec![Vec::new(); PACKAGES];
    for number in 1..PACKAGES {
        needs[(number - 1) / 3].push(number);
    }
    let mut state = 99_u64;
    for (number, needs) in needs.iter_mut().enumerate().take(PACKAGES - 1) {
        for _ in 0..2 {
            // A linear congruential generator: the same graph every time.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let other = number + 1 + (state >> 33) as usize % (PACKAGES - number - 1);
            if !needs.contains(&other) {
                needs.push(other);
            }
        }
    }
    needs
}

/// Makes a package: a program's library, an assembly, two files, in every tenth also a manifest.
pub(crate) fn package(number: usize) -> Vec<u8> {
    let name = id(number);
    let needs = needs().swap_remove(number);
    let dependencies = needs.into_iter().map(|number| Dependency {
        id: id(number),
        range: VersionRange::at_least(Version::new(1, 0, 0)),
        include: None,
        exclude: None,
    });
    let mut nuspec = Nuspec::new(name.clone(), Version::new(1, 0, 0), "Bench", "A package");
    nuspec.dependency_groups = vec![DependencyGroup {
        target_framework: None,
        dependencies: dependencies.collect(),
    }];
    let mut builder = PackageBuilder::new(nuspec);
    for path in [
        format!("runtimes/linux-x64/native/lib{name}.so"),
        format!("lib/net8.0/{name}.dll"),
        format!("content/{name}/readme.txt"),
        format!("content/{name}/data/table.csv"),
    ] {
        builder = builder.file(&path, vec![b'x'; 1024], false);
    }
    if number.is_multiple_of(10) {
        let text =
            format!("config {{ Bench.{name} {{ port = {number}, peers = [a, b], wait = 10s }} }}");
        builder = builder.manifest(&text);
    }
    builder.to_bytes().unwrap()
}
