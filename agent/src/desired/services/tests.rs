use serde_json::json;

use super::*;

fn ranges() -> ServiceRanges {
    let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    ServiceRanges {
        cluster: list(&["10.96.0.0/16", "fd00:96::/112"]),
        external: list(&["192.0.2.0/28", "198.51.100.7/32"]),
        load_balancer: list(&["203.0.113.0/24"]),
        single_load_balancers: false,
    }
}

fn service(name: &str, spec: serde_json::Value, balancer: &[&str]) -> Service {
    let ingress: Vec<_> = balancer.iter().map(|ip| json!({"ip": ip})).collect();
    let status = json!({"loadBalancer": {"ingress": ingress}});
    serde_json::from_value(
        json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec, "status": status}),
    )
    .unwrap()
}

/// A slice of `service` with endpoints on these nodes, each with its conditions.
fn slice(name: &str, service: &str, family: &str, endpoints: &[(&str, serde_json::Value)]) -> EndpointSlice {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(node, conditions)| json!({"addresses": ["10.244.0.1"], "nodeName": node, "conditions": conditions}))
        .collect();
    let labels = json!({"kubernetes.io/service-name": service});
    let metadata = json!({"name": name, "namespace": "shop", "labels": labels});
    serde_json::from_value(json!({"metadata": metadata, "addressType": family, "endpoints": endpoints}))
        .unwrap()
}

fn ready() -> serde_json::Value {
    json!({"ready": true})
}

/// What node n1 announces of single addresses.
fn single(ranges: &ServiceRanges, service: Service, slices: Vec<EndpointSlice>) -> Vec<String> {
    let found = services(
        "n1",
        &BTreeMap::new(),
        ranges,
        &[service].into_iter().collect(),
        &slices.into_iter().collect(),
    );
    found.single.iter().map(ToString::to_string).collect()
}

#[test]
fn ranges_are_announced_as_a_whole_and_single_addresses_only_where_they_lead() {
    let found = services("n1", &BTreeMap::new(), &ranges(), &Snapshot::default(), &Snapshot::default());
    let whole: Vec<String> = found.whole.iter().map(ToString::to_string).collect();
    assert_eq!(whole, ["10.96.0.0/16", "192.0.2.0/28", "203.0.113.0/24", "fd00:96::/112"]);
    assert!(found.single.is_empty(), "198.51.100.7 has no Service");
}

#[test]
fn with_policy_local_only_nodes_with_a_ready_endpoint_announce() {
    let local = || {
        let spec =
            json!({"clusterIPs": ["10.96.1.1"], "externalTrafficPolicy": "Local", "type": "LoadBalancer"});
        service("web", spec, &["203.0.113.9"])
    };
    let both = ["10.96.1.1/32", "203.0.113.9/32"];
    let table = [
        (vec![], &[][..]),
        (vec![("n1", ready())], &both[..]),
        (vec![("n2", ready())], &[]),
        (vec![("n1", json!({"ready": false}))], &[]),
        (vec![("n1", json!({}))], &both),
        (vec![("n1", json!({"ready": false})), ("n1", ready())], &both),
        (vec![("n1", json!({"ready": false, "serving": true, "terminating": true})), ("n2", ready())], &[]),
        (vec![("n1", json!({"ready": true, "terminating": true}))], &[]),
    ];
    for (endpoints, expected) in table {
        let slices = vec![slice("web-a", "web", "IPv4", &endpoints)];
        assert_eq!(single(&ranges(), local(), slices), expected, "{endpoints:?}");
    }
    // Several slices of one Service count together; those of others and of the other family not at all.
    let slices = |family, of| {
        vec![
            slice("web-a", "web", "IPv4", &[("n2", ready())]),
            slice("web-b", of, family, &[("n1", ready())]),
        ]
    };
    assert_eq!(single(&ranges(), local(), slices("IPv4", "web")), both);
    assert_eq!(single(&ranges(), local(), slices("IPv4", "other")), [""; 0]);
    assert_eq!(single(&ranges(), local(), slices("IPv6", "web")), [""; 0]);
}

#[test]
fn with_policy_cluster_an_address_goes_with_the_last_ready_endpoint() {
    let cluster =
        |external: &str| service("web", json!({"clusterIPs": ["10.96.1.1"], "externalIPs": [external]}), &[]);
    let anywhere = || vec![slice("web-a", "web", "IPv4", &[("n2", ready())])];
    let nowhere = || vec![slice("web-a", "web", "IPv4", &[("n2", json!({"ready": false}))])];
    assert_eq!(single(&ranges(), cluster("198.51.100.7"), anywhere()), ["198.51.100.7/32"]);
    assert_eq!(single(&ranges(), cluster("198.51.100.7"), nowhere()), [""; 0]);
    // Inside a range that is announced as a whole nothing is added.
    assert_eq!(single(&ranges(), cluster("192.0.2.5"), anywhere()), [""; 0]);
}

#[test]
fn load_balancers_are_announced_one_by_one_where_aggregation_is_off() {
    let apart = ServiceRanges { single_load_balancers: true, ..ranges() };
    let balanced = || service("web", json!({"clusterIPs": ["10.96.1.1"]}), &["203.0.113.9"]);
    let slices = || vec![slice("web-a", "web", "IPv4", &[("n2", ready())])];
    assert_eq!(single(&apart, balanced(), slices()), ["203.0.113.9/32"]);
    assert_eq!(single(&apart, balanced(), vec![]), [""; 0]);
    assert!(!apart.whole().contains(&"203.0.113.0/24".parse().unwrap()));
}

#[test]
fn each_kind_of_address_counts_in_its_own_range_only_and_headless_services_have_none() {
    let spec = json!({"clusterIPs": ["203.0.113.1"], "externalIPs": ["10.96.0.9"], "externalTrafficPolicy": "Local"});
    let slices = || vec![slice("web-a", "web", "IPv4", &[("n1", ready())])];
    assert_eq!(single(&ranges(), service("web", spec, &["192.0.2.1"]), slices()), [""; 0]);
    let headless = json!({"clusterIPs": ["None"], "externalTrafficPolicy": "Local"});
    assert_eq!(single(&ranges(), service("web", headless, &[]), slices()), [""; 0]);
}

#[test]
fn each_family_is_ready_by_itself() {
    let dual = json!({"clusterIPs": ["10.96.1.1", "fd00:96::1"], "externalTrafficPolicy": "Local"});
    let slices = vec![
        slice("web-4", "web", "IPv4", &[("n1", json!({"ready": false}))]),
        slice("web-6", "web", "IPv6", &[("n1", ready())]),
    ];
    assert_eq!(single(&ranges(), service("web", dual, &[]), slices), ["fd00:96::1/128"]);
}

#[test]
fn an_excluded_node_announces_none() {
    let labels = |value: &str| BTreeMap::from([(EXCLUDED.to_owned(), value.to_owned())]);
    let none = Snapshot::default();
    let of = |labels| services("n1", &labels, &ranges(), &none, &Snapshot::default());
    assert_eq!(of(labels("true")), ServiceRoutes::default());
    assert_eq!(of(labels("")), ServiceRoutes::default(), "the label alone says it");
    assert_ne!(of(labels("false")), ServiceRoutes::default());
}

#[test]
fn an_address_is_held_back_until_it_is_served_and_withdrawn_at_once() {
    let address = |text: &str| text.parse::<IpNetwork>().unwrap();
    let (a, b) = (address("203.0.113.1/32"), address("203.0.113.2/32"));
    let start = Instant::now();
    let mut held = HeldBack::default();
    // What there is at the start was announced by the run before.
    assert_eq!(held.update(start, &[a].into()), ([a].into(), None));
    let later = start + Duration::from_secs(60);
    assert_eq!(held.update(later, &[a, b].into()), ([a].into(), Some(later + ANNOUNCE_AFTER)));
    assert_eq!(held.update(later + ANNOUNCE_AFTER, &[a, b].into()), ([a, b].into(), None));
    assert_eq!(held.update(later + ANNOUNCE_AFTER, &[a].into()), ([a].into(), None));
    // One that comes and goes begins anew.
    let again = later + ANNOUNCE_AFTER * 2;
    assert_eq!(held.update(again, &[a, b].into()), ([a].into(), Some(again + ANNOUNCE_AFTER)));
}
