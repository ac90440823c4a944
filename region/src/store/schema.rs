//! The tables, as the migrations make them. Tests run every column on both databases.

diesel::table! {
    users (id) {
        id -> Text,
        name -> Text,
        role -> Text,
        created_at -> Timestamp,
        max_machines -> Nullable<Integer>,
        disabled -> Bool,
        version -> BigInt,
    }
}

diesel::table! {
    projects (id) {
        id -> Text,
        name -> Text,
        description -> Text,
        max_machines -> Nullable<Integer>,
        version -> BigInt,
        created_at -> Timestamp,
    }
}

diesel::table! {
    project_members (project, user_id) {
        project -> Text,
        user_id -> Text,
    }
}

diesel::table! {
    pools (id) {
        id -> Text,
        name -> Text,
        description -> Text,
        everyone -> Bool,
        version -> BigInt,
        created_at -> Timestamp,
    }
}

diesel::table! {
    pool_grants (pool, kind, subject) {
        pool -> Text,
        kind -> Text,
        subject -> Text,
    }
}

diesel::table! {
    ssh_keys (id) {
        id -> Text,
        user_id -> Text,
        public_key -> Text,
        fingerprint -> Text,
        created_at -> Timestamp,
    }
}

diesel::table! {
    audit (number) {
        number -> BigInt,
        at -> Timestamp,
        user_id -> Text,
        user_name -> Text,
        method -> Text,
        target -> Text,
        comment -> Text,
        peer -> Text,
        request_id -> Text,
    }
}

diesel::table! {
    tokens (id) {
        id -> Text,
        user_id -> Text,
        digest -> Text,
        comment -> Text,
        created_at -> Timestamp,
        expires_at -> Nullable<Timestamp>,
        revoked -> Bool,
    }
}

diesel::table! {
    racks (id) {
        id -> Text,
        name -> Text,
        address -> Text,
        software_version -> Text,
        last_seen -> Nullable<Timestamp>,
        snapshot -> Nullable<Text>,
        intents -> BigInt,
        certificate_expires_at -> Timestamp,
        http_port -> Integer,
    }
}

diesel::table! {
    join_tokens (digest) {
        digest -> Text,
        rack_name -> Text,
        expires_at -> Timestamp,
        key_digest -> Nullable<Text>,
    }
}

diesel::table! {
    subnets (id) {
        id -> Text,
        name -> Text,
        cidr -> Text,
        rack -> Text,
        gateway -> Nullable<Text>,
        dns -> Text,
        dynamic_start -> Text,
        dynamic_end -> Text,
        lease_seconds -> BigInt,
    }
}

diesel::table! {
    images (id) {
        id -> Text,
        name -> Text,
        kind -> Text,
        architecture -> Text,
        created_at -> Timestamp,
        replaced_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    image_blobs (image, role) {
        image -> Text,
        role -> Text,
        sha256 -> Text,
        size -> BigInt,
        compression -> Text,
        content_sha256 -> Text,
        content_size -> BigInt,
    }
}

diesel::table! {
    machines (id) {
        id -> Text,
        name -> Text,
        state -> Text,
        phase -> Nullable<Text>,
        version -> BigInt,
        epoch -> BigInt,
        lease_owner -> Nullable<Text>,
        lease_until -> Nullable<Timestamp>,
        due_at -> Nullable<Timestamp>,
        woken -> Bool,
        reason -> Text,
        since -> Timestamp,
        deadline -> Nullable<Timestamp>,
        phase_since -> Nullable<Timestamp>,
        attempts -> Integer,
        last_error -> Nullable<Text>,
        owner -> Nullable<Text>,
        rack -> Nullable<Text>,
        architecture -> Text,
        firmware -> Nullable<Text>,
        power -> Nullable<Text>,
        power_at -> Nullable<Timestamp>,
        polled_at -> Nullable<Timestamp>,
        bmc_address -> Nullable<Text>,
        details -> Text,
        created_at -> Timestamp,
        updated_at -> Timestamp,
        pool -> Text,
        zone -> Text,
        tags -> Text,
        owner_project -> Nullable<Text>,
        reason_code -> Text,
    }
}

diesel::table! {
    interfaces (mac) {
        mac -> Text,
        machine -> Text,
        position -> Integer,
        address -> Nullable<Text>,
    }
}

diesel::table! {
    boots (id) {
        id -> Text,
        machine -> Text,
        purpose -> Text,
        hello_at -> Nullable<Timestamp>,
        session_digest -> Nullable<Text>,
        phoned_home_at -> Nullable<Timestamp>,
        created_at -> Timestamp,
        restarted_at -> Nullable<Timestamp>,
        heard_at -> Nullable<Timestamp>,
        held -> Nullable<Text>,
    }
}

diesel::table! {
    tasks (id) {
        id -> Text,
        boot -> Text,
        machine -> Text,
        number -> Integer,
        kind -> Text,
        status -> Text,
        text -> Text,
        result -> Nullable<Text>,
        created_at -> Timestamp,
        started_at -> Nullable<Timestamp>,
        finished_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    scripts (id) {
        id -> Text,
        name -> Text,
        kind -> Text,
        content -> Text,
        timeout_seconds -> Integer,
        description -> Text,
        created_at -> Timestamp,
    }
}

diesel::table! {
    script_results (task, position) {
        task -> Text,
        position -> Integer,
        machine -> Text,
        boot -> Text,
        script -> Text,
        kind -> Text,
        status -> Text,
        exit_code -> Integer,
        output -> Text,
        started_at -> Timestamp,
        finished_at -> Timestamp,
    }
}

diesel::table! {
    operations (id) {
        id -> Text,
        verb -> Text,
        status -> Text,
        user_id -> Text,
        options -> Text,
        comment -> Text,
        max_parallel -> Integer,
        stop_after_failures -> Integer,
        created_at -> Timestamp,
        finished_at -> Nullable<Timestamp>,
        lease_owner -> Nullable<Text>,
        lease_until -> Nullable<Timestamp>,
    }
}

diesel::table! {
    operation_items (operation, position) {
        operation -> Text,
        position -> Integer,
        machine -> Text,
        machine_name -> Text,
        expected -> Nullable<Text>,
        status -> Text,
        text -> Text,
        revision -> BigInt,
        asked -> Bool,
    }
}

diesel::table! {
    live_tokens (digest) {
        digest -> Text,
        machine -> Text,
        expires_at -> Timestamp,
    }
}

diesel::table! {
    secrets (purpose) {
        purpose -> Text,
        sealed -> Binary,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    events (revision) {
        revision -> BigInt,
        at -> Timestamp,
        kind -> Text,
        machine -> Nullable<Text>,
        event -> Nullable<Text>,
        from_state -> Nullable<Text>,
        to_state -> Nullable<Text>,
        phase -> Nullable<Text>,
        actor -> Text,
        reason -> Text,
    }
}

diesel::table! {
    boot_steps (id) {
        id -> Text,
        at -> Timestamp,
        mac -> Text,
        machine -> Nullable<Text>,
        boot -> Nullable<Text>,
        kind -> Text,
        text -> Text,
    }
}

diesel::table! {
    requests (principal, request_id) {
        principal -> Text,
        request_id -> Text,
        method -> Text,
        body_sha256 -> Text,
        answer -> Binary,
        created_at -> Timestamp,
    }
}

diesel::joinable!(machines -> users (owner));
diesel::joinable!(machines -> racks (rack));
diesel::joinable!(machines -> pools (pool));
diesel::joinable!(machines -> projects (owner_project));
diesel::joinable!(tokens -> users (user_id));
diesel::joinable!(operations -> users (user_id));
diesel::joinable!(project_members -> projects (project));
diesel::joinable!(project_members -> users (user_id));

diesel::allow_tables_to_appear_in_same_query!(
    events,
    interfaces,
    machines,
    operations,
    pools,
    project_members,
    projects,
    racks,
    tokens,
    users
);
