//! The server as people use it: through real kubectls, an old one (Debian's) and a newer one.
//!
//! `cargo verify` runs this by name (`cargo test --test kubectl`), since it fetches the programs the first time. They
//! are only unpacked, below `target/kubectl`, never installed.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod kubectl {
    pub(crate) mod fetch;
    pub(crate) mod world;
}

use kubectl::world::{Kubectl, World, both};

const POOL: &str = "\
apiVersion: caracal.dev/v1
kind: IPPool
metadata: {name: pods, labels: {rack: a}}
spec: {cidr: 10.244.0.0/16, natOutgoing: true}
";

const MAP: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: default}
data: {kept: '1', dropped: '2'}
";

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default}
spec:
  nodeName: n1
  containers: [{name: web, image: web}]
";

const NODE: &str = "\
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.0.0.0/24}
status:
  addresses: [{type: InternalIP, address: 172.30.0.11}]
  conditions: [{type: Ready, status: 'True', reason: KubeletReady, message: ready}]
";

#[test]
fn every_kind_is_listed_and_explained() {
    both(|kubectl| {
        let kinds = kubectl.ok("api-resources -o wide");
        for line in ["ippools", "ipamblocks", "bgppeers", "nodes", "pods", "configmaps", "events", "leases"] {
            assert!(kinds.lines().any(|found| found.starts_with(line)), "no {line} in\n{kinds}");
        }
        let pool = kubectl.ok("explain ippool.spec.cidr");
        assert!(pool.contains("The range, such as `10.244.0.0/16`"), "{pool}");
        let whole = kubectl.ok("explain ippool");
        for field in ["apiVersion", "kind", "metadata", "spec", "status"] {
            assert!(
                whole.contains(&format!("\n   {field}\t")) || whole.contains(&format!("\n  {field}\t")),
                "{whole}"
            );
        }
        let pod = kubectl.ok("explain pod.spec.nodeName");
        assert!(pod.contains("nodeName"), "{pod}");
    });
}

#[test]
fn apply_makes_changes_and_takes_back_what_the_file_no_longer_says() {
    both(|kubectl| {
        assert_eq!(kubectl.given("apply -f -", POOL), "ippool.caracal.dev/pods created\n");
        assert_eq!(kubectl.given("apply -f -", POOL), "ippool.caracal.dev/pods unchanged\n");
        // Another hand's label stays, the file's own goes.
        kubectl.ok("label ippool pods other=hand");
        let next = POOL.replace("rack: a", "row: b").replace("natOutgoing: true", "natOutgoing: false");
        assert_eq!(kubectl.given("apply -f -", &next), "ippool.caracal.dev/pods configured\n");
        let labels = kubectl.json("get ippool pods", "/metadata/labels");
        assert_eq!(labels, serde_json::json!({"other": "hand", "row": "b"}));
        assert_eq!(kubectl.json("get ippool pods", "/spec/natOutgoing"), false);
        // A built-in kind, by strategic merge.
        kubectl.given("apply -f -", MAP);
        kubectl.given("apply -f -", &MAP.replace("dropped: '2'", "new: '3'"));
        let data = kubectl.json("get configmap settings", "/data");
        assert_eq!(data, serde_json::json!({"kept": "1", "new": "3"}));
    });
}

#[test]
fn what_would_change_is_shown_and_not_done() {
    both(|kubectl| {
        kubectl.given("apply -f -", POOL);
        let (code, said) =
            kubectl.try_given("diff -f -", &POOL.replace("natOutgoing: true", "natOutgoing: false"));
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("-  natOutgoing: true") && said.contains("+  natOutgoing: false"), "{said}");
        assert_eq!(kubectl.json("get ippool pods", "/spec/natOutgoing"), true);
    });
}

#[test]
fn a_misspelt_field_is_refused_by_name() {
    both(|kubectl| {
        let (code, said) = kubectl.try_given("apply -f -", &POOL.replace("natOutgoing", "natOutgoingg"));
        assert_ne!(code, 0);
        assert!(said.contains("natOutgoingg"), "{said}");
        assert_eq!(kubectl.ok("get ippools -o name"), "");
    });
}

#[test]
fn tables_have_the_columns_that_people_know() {
    both(|kubectl| {
        kubectl.given("apply -f -", POOL);
        kubectl.given("create -f -", NODE);
        kubectl.given("create -f -", POD);
        let head = |words: &str| -> Vec<String> {
            let table = kubectl.ok(words);
            table.lines().next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(head("get nodes"), ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]);
        assert_eq!(head("get nodes -o wide")[5], "INTERNAL-IP");
        assert_eq!(head("get pods"), ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
        assert_eq!(head("get pods -A -o wide")[..2], ["NAMESPACE", "NAME"]);
        assert_eq!(head("get ipp")[..4], ["NAME", "CIDR", "BLOCK", "IPIP"]);
        let pods = kubectl.ok("get pods -o wide");
        assert!(pods.contains("0/1") && pods.contains("n1"), "{pods}");
        assert_eq!(kubectl.ok("get pods -o name"), "pod/web\n");
        assert_eq!(kubectl.ok("get pods --field-selector spec.nodeName=n1 -o name"), "pod/web\n");
        assert_eq!(kubectl.ok("get pods -l no=such -o name"), "");
    });
}

#[test]
fn objects_are_described() {
    both(|kubectl| {
        kubectl.given("apply -f -", POOL);
        kubectl.given("create -f -", NODE);
        kubectl.given("create -f -", POD);
        let pool = kubectl.ok("describe ippool pods");
        assert!(pool.contains("Nat Outgoing:") && pool.contains("10.244.0.0/16"), "{pool}");
        let node = kubectl.ok("describe node n1");
        assert!(node.contains("PodCIDR:") && node.contains("web"), "the node and its pods: {node}");
        let pod = kubectl.ok("describe pod web");
        assert!(pod.contains("Node:") && pod.contains("n1"), "{pod}");
    });
}

#[test]
fn typed_commands_of_built_in_kinds_work() {
    both(|kubectl| {
        kubectl.ok("create namespace blue");
        kubectl.ok("create configmap made --from-literal=a=1 -n blue");
        assert_eq!(kubectl.json("get configmap made -n blue", "/data/a"), "1");
        kubectl.ok("create secret generic hidden --from-literal=a=1 -n blue");
        assert_eq!(kubectl.json("get secret hidden -n blue", "/data/a"), "MQ==");
        kubectl.ok("create serviceaccount robot -n blue");
        kubectl.ok("create service clusterip web --tcp=80:8080 -n blue");
        assert_eq!(kubectl.json("get service web -n blue", "/spec/ports/0/targetPort"), 8080);
        kubectl.ok("delete namespace blue");
        assert_ne!(kubectl.try_given("get namespace blue", "").0, 0);
    });
}

#[test]
fn objects_are_labelled_annotated_patched_edited_and_deleted() {
    both(|kubectl| {
        kubectl.given("apply -f -", POOL);
        kubectl.given("apply -f -", MAP);
        kubectl.given("create -f -", POD);
        kubectl.ok("label pod web tier=front");
        kubectl.ok("annotate ippool pods why=because");
        assert_eq!(kubectl.json("get ippool pods", "/metadata/annotations/why"), "because");
        kubectl.ok("patch ippool pods --type merge -p {\"spec\":{\"natOutgoing\":false}}");
        kubectl.ok("patch pod web -p {\"metadata\":{\"labels\":{\"tier\":\"back\"}}}");
        assert_eq!(kubectl.json("get pod web", "/metadata/labels/tier"), "back");
        kubectl.ok(
            "patch configmap settings --type json -p [{\"op\":\"add\",\"path\":\"/data/z\",\"value\":\"9\"}]",
        );
        assert_eq!(kubectl.json("get configmap settings", "/data/z"), "9");
        // As an editor would: natOutgoing is turned on again.
        kubectl.with("EDITOR", "sed -i s/natOutgoing:.false/natOutgoing:\\ true/").ok("edit ippool pods");
        assert_eq!(kubectl.json("get ippool pods", "/spec/natOutgoing"), true);
        // It is bound to a node, and there is no kubelet to say that it has ended.
        kubectl.ok("delete pod web --grace-period=0 --force");
        kubectl.ok("delete ippool pods");
        kubectl.given("delete -f -", MAP);
        assert_eq!(kubectl.ok("get ippools,pods,configmaps -o name"), "");
    });
}

#[test]
fn a_watch_prints_each_change_as_it_comes() {
    both(|kubectl| {
        kubectl.given("apply -f -", POOL);
        let mut watch = kubectl.watch("get ippools -w --no-headers");
        assert!(watch.line().starts_with("pods"));
        kubectl.given("apply -f -", &POOL.replace("name: pods", "name: more").replace("10.244", "10.245"));
        assert!(watch.line().starts_with("more"));
        kubectl.ok("delete ippool more");
        assert!(watch.line().starts_with("more"));
    });
}

#[test]
fn one_kubectl_is_current_and_one_is_older() {
    let world = World::open();
    let [old, new] = [0, 1].map(|index| {
        let said = Kubectl::all(&world)[index].ok("version -o json");
        let version: serde_json::Value = serde_json::from_str(&said).unwrap();
        let minor = version.pointer("/clientVersion/minor").and_then(serde_json::Value::as_str).unwrap();
        minor.parse::<u32>().unwrap()
    });
    assert_eq!(new, 37);
    assert!(old < 34, "Debian's kubectl is 1.{old}: nearly as new as the other");
}

#[test]
fn server_side_apply_shares_objects_between_managers() {
    both(|kubectl| {
        let apply = "apply --server-side -f -";
        assert_eq!(kubectl.given(apply, POOL), "ippool.caracal.dev/pods serverside-applied\n");
        kubectl.given(apply, MAP);
        // Another manager adds to it; what the first set it may not change.
        let other = "apply --server-side --field-manager=other -f -";
        let more = POOL.replace("{rack: a}", "{row: b}").replace(", natOutgoing: true", "");
        kubectl.given(other, &more);
        let labels = kubectl.json("get ippool pods", "/metadata/labels");
        assert_eq!(labels, serde_json::json!({"rack": "a", "row": "b"}));
        let (code, said) = kubectl.try_given(other, &POOL.replace("natOutgoing: true", "natOutgoing: false"));
        assert_ne!(code, 0);
        assert!(said.contains("conflict with \"kubectl\"") && said.contains(".spec.natOutgoing"), "{said}");
        let forced = "apply --server-side --force-conflicts --field-manager=other -f -";
        kubectl.given(forced, &POOL.replace("natOutgoing: true", "natOutgoing: false"));
        assert_eq!(kubectl.json("get ippool pods", "/spec/natOutgoing"), false);
        // What the file no longer says is taken back.
        kubectl.given(apply, &MAP.replace("dropped: '2'", "new: '3'"));
        let data = kubectl.json("get configmap settings", "/data");
        assert_eq!(data, serde_json::json!({"kept": "1", "new": "3"}));
    });
}

#[test]
fn what_was_applied_by_the_client_can_be_applied_by_the_server() {
    let world = World::open();
    // Only newer kubectls hand over from the one to the other, when nothing is changed yet.
    let kubectl = &Kubectl::all(&world)[1];
    kubectl.given("apply -f -", POOL);
    kubectl.given("apply --server-side -f -", POOL);
    let next = POOL.replace("natOutgoing: true", "natOutgoing: false").replace("rack: a", "row: b");
    kubectl.given("apply --server-side -f -", &next);
    assert_eq!(kubectl.json("get ippool pods", "/spec/natOutgoing"), false);
    let labels = kubectl.json("get ippool pods", "/metadata/labels");
    assert_eq!(labels, serde_json::json!({"row": "b"}));
}

/// The folder of what people install caracal by.
const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");

#[test]
fn the_manifests_are_applied_in_one_go_and_once_more_without_a_change_and_removed() {
    both(|kubectl| {
        let created = kubectl.ok(&format!("apply -k {DEPLOY}"));
        for line in [
            "namespace/caracal-system created",
            "serviceaccount/caracal-agent created",
            "clusterrole.rbac.authorization.k8s.io/caracal-controller created",
            "daemonset.apps/caracal-agent created",
            "deployment.apps/caracal-controller created",
        ] {
            assert!(created.lines().any(|found| found == line), "no {line} in\n{created}");
        }
        let agents = "get daemonset caracal-agent -n caracal-system";
        assert_eq!(kubectl.json(agents, "/spec/template/spec/containers/0/image"), "caracal:0.1.0");
        assert_eq!(kubectl.json(agents, "/spec/template/spec/initContainers/0/image"), "caracal:0.1.0");
        let again = kubectl.ok(&format!("apply -k {DEPLOY}"));
        // The definitions were there before, from the server's own start.
        let ours = again.lines().filter(|line| !line.starts_with("customresourcedefinition"));
        let changed: Vec<&str> = ours.filter(|line| !line.ends_with(" unchanged")).collect();
        assert_eq!(changed, [""; 0]);
        let pools = kubectl.ok(&format!("apply -f {DEPLOY}/pools.yaml"));
        assert_eq!(pools.matches(" created").count(), 2, "{pools}");
        // With the namespace goes what is in it.
        kubectl.ok(&format!("delete --ignore-not-found -k {DEPLOY}"));
        assert_eq!(kubectl.ok("get clusterroles,clusterrolebindings -o name"), "");
    });
}

#[test]
fn a_service_account_may_do_what_its_roles_say_and_nothing_else() {
    both(|kubectl| {
        kubectl.ok(&format!("apply -k {DEPLOY}"));
        kubectl.given("apply -f -", POOL);
        kubectl.given("create -f -", NODE);
        let agent = "--as system:serviceaccount:caracal-system:caracal-agent";
        assert_eq!(kubectl.ok(&format!("get ippools -o name {agent}")), "ippool.caracal.dev/pods\n");
        assert_eq!(kubectl.ok(&format!("get secrets -n caracal-system -o name {agent}")), "");
        for (words, refusal) in [
            (
                "get secrets -n default",
                "secrets is forbidden: User \"system:serviceaccount:caracal-system:caracal-agent\" cannot list resource \
                 \"secrets\" in API group \"\" in the namespace \"default\"",
            ),
            (
                "delete ippool pods",
                "cannot delete resource \"ippools\" in API group \"caracal.dev\" at the cluster scope",
            ),
            ("annotate node n1 a=b", "cannot patch resource \"nodes\""),
            ("get leases -n caracal-system", "cannot list resource \"leases\""),
        ] {
            let (code, said) = kubectl.try_given(&format!("{words} {agent}"), "");
            assert!(code != 0 && said.contains(refusal), "{words}: {code} {said}");
        }
        let (code, said) = kubectl.try_given("get nodes --as system:serviceaccount:default:nobody", "");
        assert!(code != 0 && said.contains("nauthorized"), "{code} {said}");
    });
}
