//! The lab itself: without portcullis nothing passes, and what stops it is the firewall alone.

use crate::lab::{Family, Lab, REFUSAL, same};

crate::claims![
    without_portcullis_nothing_is_forwarded,
    an_opened_edge_routes_plainly,
    a_lab_leaves_no_kernel_state_of_its_own,
];

fn without_portcullis_nothing_is_forwarded() {
    for lab in [Lab::behind_nat(), Lab::published()] {
        let _listener = lab.server.listen("[::]:4000");
        for family in [Family::V4, Family::V6] {
            let address = format!("{}:4000", lab.server_address(family));
            assert!(
                lab.client.connect_within(&address, REFUSAL).is_err(),
                "{address} was reached"
            );
        }
        lab.open_firewall();
        for family in [Family::V4, Family::V6] {
            lab.client
                .connect(&format!("{}:4000", lab.server_address(family)))
                .unwrap();
        }
    }
}

fn an_opened_edge_routes_plainly() {
    let lab = Lab::behind_nat();
    let server = lab.vsftpd();
    lab.open_firewall();
    let file = lab.random_file("sent", 1_000_000);
    for family in [Family::V4, Family::V6] {
        let url = format!("ftp://{}", lab.dialled(family));
        lab.client(&format!("curl -sS -T {} {url}/kept", file.display()));
        lab.client(&format!(
            "curl -sS -o {}/back {url}/kept",
            lab.dir.display()
        ));
        assert!(
            same(&file, &server.file("kept")),
            "the upload differs over {family:?}"
        );
        assert!(
            same(&file, &lab.dir.join("back")),
            "the download differs over {family:?}"
        );
    }
}

fn a_lab_leaves_no_kernel_state_of_its_own() {
    assert_eq!(Lab::behind_nat().kernel_state(), Vec::<String>::new());
}
