BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE artifacts (
	digest VARCHAR(80) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	reference VARCHAR(400) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	entry_file VARCHAR(1024) NOT NULL, 
	referenced BOOLEAN NOT NULL, 
	used_time DATETIME NOT NULL, 
	used_version BIGINT NOT NULL, 
	PRIMARY KEY (digest)
);
INSERT INTO "artifacts" VALUES('sha256:187db0d195a3a09339684cda287e7eb1dbd4195a5fb2c176e6629559d458391c','TREE','sha256/19/191f7bdc9604fc27b786bb9ed572182885de5d9b914894bbcfe904247035dbf2',10240,'handler.py',1,'2026-11-21 11:51:25.721296',6);
CREATE TABLE build_events (
	build_uid VARCHAR(36) NOT NULL, 
	sequence BIGINT NOT NULL, 
	time DATETIME NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	content TEXT NOT NULL, 
	PRIMARY KEY (build_uid, sequence)
);
INSERT INTO "build_events" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3',1,'2026-11-21 11:51:25.292165','state_change','{"uid": "01a1fdf2-6b68-744b-9978-7b488b18def3", "function": "workspaces/ws-default/functions/fn-riquvceuh5fp", "function_uid": "fn-riquvceuh5fp", "source_digest": "sha256:f6d66890f5231449b056f867e700838267a2c826f24274c1aca257e4724d3885", "deploy": true, "revision": "", "runtime": "", "target": "", "handler": "handler", "percent": 0, "cached": false, "error": "", "last_sequence": 1, "trace_id": "8890930c71afcb297fcbf0622da9275f", "traceparent": "00-8890930c71afcb297fcbf0622da9275f-0fdb97361c572354-00", "attempts": 0, "cancel_requested": false, "reported": false, "create_time": "2026-11-21T11:51:25.288305+00:00", "start_time": null, "end_time": null, "state": "PENDING", "stage": null, "artifact_digest": null, "artifact_kind": null, "artifact_reference": null, "artifact_size_bytes": null, "artifact_entry_file": null}');
INSERT INTO "build_events" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3',2,'2026-11-21 11:51:25.319126','state_change','{"uid": "01a1fdf2-6b68-744b-9978-7b488b18def3", "function": "workspaces/ws-default/functions/fn-riquvceuh5fp", "function_uid": "fn-riquvceuh5fp", "source_digest": "sha256:f6d66890f5231449b056f867e700838267a2c826f24274c1aca257e4724d3885", "deploy": true, "revision": "workspaces/ws-default/functions/fn-riquvceuh5fp/revisions/1", "runtime": "python", "target": "process", "handler": "handler", "percent": 0, "cached": false, "error": "", "last_sequence": 2, "trace_id": "8890930c71afcb297fcbf0622da9275f", "traceparent": "00-8890930c71afcb297fcbf0622da9275f-0fdb97361c572354-00", "attempts": 1, "cancel_requested": false, "reported": false, "create_time": "2026-11-21T11:51:25.288305+00:00", "start_time": "2026-11-21T11:51:25.316655+00:00", "end_time": null, "state": "BUILDING", "stage": null, "artifact_digest": null, "artifact_kind": null, "artifact_reference": null, "artifact_size_bytes": null, "artifact_entry_file": null}');
INSERT INTO "build_events" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3',3,'2026-11-21 11:51:25.337799','progress','{"stage": "UNPACK", "percent": 0}');
INSERT INTO "build_events" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3',4,'2026-11-21 11:51:25.570478','progress','{"stage": "UNPACK", "percent": 5}');
INSERT INTO "build_events" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3',5,'2026-11-21 11:51:25.570478','progress','{"stage": "CHECK", "percent": 5}');
INSERT INTO "build_events" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3',6,'2026-11-21 11:51:25.674873','progress','{"stage": "CHECK", "percent": 10}');
INSERT INTO "build_events" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3',7,'2026-11-21 11:51:25.674873','progress','{"stage": "INSTALL", "percent": 10}');
INSERT INTO "build_events" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3',8,'2026-11-21 11:51:25.679357','progress','{"stage": "INSTALL", "percent": 75}');
INSERT INTO "build_events" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3',9,'2026-11-21 11:51:25.679357','progress','{"stage": "ASSEMBLE", "percent": 75}');
INSERT INTO "build_events" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3',10,'2026-11-21 11:51:25.685897','progress','{"stage": "ASSEMBLE", "percent": 90}');
INSERT INTO "build_events" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3',11,'2026-11-21 11:51:25.685897','progress','{"stage": "PUSH", "percent": 90}');
INSERT INTO "build_events" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3',12,'2026-11-21 11:51:25.690593','state_change','{"uid": "01a1fdf2-6b68-744b-9978-7b488b18def3", "function": "workspaces/ws-default/functions/fn-riquvceuh5fp", "function_uid": "fn-riquvceuh5fp", "source_digest": "sha256:f6d66890f5231449b056f867e700838267a2c826f24274c1aca257e4724d3885", "deploy": true, "revision": "workspaces/ws-default/functions/fn-riquvceuh5fp/revisions/1", "runtime": "python", "target": "process", "handler": "handler", "percent": 90, "cached": false, "error": "", "last_sequence": 12, "trace_id": "8890930c71afcb297fcbf0622da9275f", "traceparent": "00-8890930c71afcb297fcbf0622da9275f-0fdb97361c572354-00", "attempts": 1, "cancel_requested": false, "reported": false, "create_time": "2026-11-21T11:51:25.288305+00:00", "start_time": "2026-11-21T11:51:25.316655+00:00", "end_time": null, "state": "PUSHING", "stage": "PUSH", "artifact_digest": null, "artifact_kind": null, "artifact_reference": null, "artifact_size_bytes": null, "artifact_entry_file": null}');
INSERT INTO "build_events" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3',13,'2026-11-21 11:51:25.700810','progress','{"stage": "PUSH", "percent": 99}');
INSERT INTO "build_events" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3',14,'2026-11-21 11:51:25.705215','state_change','{"uid": "01a1fdf2-6b68-744b-9978-7b488b18def3", "function": "workspaces/ws-default/functions/fn-riquvceuh5fp", "function_uid": "fn-riquvceuh5fp", "source_digest": "sha256:f6d66890f5231449b056f867e700838267a2c826f24274c1aca257e4724d3885", "deploy": true, "revision": "workspaces/ws-default/functions/fn-riquvceuh5fp/revisions/1", "runtime": "python", "target": "process", "handler": "handler", "percent": 100, "cached": false, "error": "", "last_sequence": 14, "trace_id": "8890930c71afcb297fcbf0622da9275f", "traceparent": "00-8890930c71afcb297fcbf0622da9275f-0fdb97361c572354-00", "attempts": 1, "cancel_requested": false, "reported": false, "create_time": "2026-11-21T11:51:25.288305+00:00", "start_time": "2026-11-21T11:51:25.316655+00:00", "end_time": "2026-11-21T11:51:25.703176+00:00", "state": "DONE", "stage": "PUSH", "artifact_digest": "sha256:187db0d195a3a09339684cda287e7eb1dbd4195a5fb2c176e6629559d458391c", "artifact_kind": "TREE", "artifact_reference": "sha256/19/191f7bdc9604fc27b786bb9ed572182885de5d9b914894bbcfe904247035dbf2", "artifact_size_bytes": 10240, "artifact_entry_file": "handler.py"}');
CREATE TABLE builds (
	uid VARCHAR(36) NOT NULL, 
	function VARCHAR(300) NOT NULL, 
	function_uid VARCHAR(64) NOT NULL, 
	source_digest VARCHAR(80) NOT NULL, 
	deploy BOOLEAN NOT NULL, 
	request_id VARCHAR(64), 
	revision VARCHAR(400) NOT NULL, 
	runtime VARCHAR(16) NOT NULL, 
	target VARCHAR(16) NOT NULL, 
	handler VARCHAR(255) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	stage VARCHAR(16), 
	percent INTEGER NOT NULL, 
	cached BOOLEAN NOT NULL, 
	artifact_digest VARCHAR(80), 
	artifact_kind VARCHAR(16), 
	artifact_reference VARCHAR(400), 
	artifact_size_bytes BIGINT, 
	artifact_entry_file VARCHAR(1024), 
	error TEXT NOT NULL, 
	create_time DATETIME NOT NULL, 
	start_time DATETIME, 
	end_time DATETIME, 
	last_sequence BIGINT NOT NULL, 
	trace_id VARCHAR(32) NOT NULL, 
	traceparent VARCHAR(64) NOT NULL, 
	attempts INTEGER NOT NULL, 
	cancel_requested BOOLEAN NOT NULL, 
	pinned_digest VARCHAR(80), 
	lease_owner VARCHAR(64), 
	lease_until DATETIME, 
	reported BOOLEAN NOT NULL, 
	report_failures INTEGER NOT NULL, 
	report_after DATETIME, 
	PRIMARY KEY (uid)
);
INSERT INTO "builds" VALUES('01a1fdf2-6b68-744b-9978-7b488b18def3','workspaces/ws-default/functions/fn-riquvceuh5fp','fn-riquvceuh5fp','sha256:f6d66890f5231449b056f867e700838267a2c826f24274c1aca257e4724d3885',1,'2e2f8bdf-fbec-4bb0-a9fd-02eef0c41aa1','workspaces/ws-default/functions/fn-riquvceuh5fp/revisions/1','python','process','handler','DONE','PUSH',100,0,'sha256:187db0d195a3a09339684cda287e7eb1dbd4195a5fb2c176e6629559d458391c','TREE','sha256/19/191f7bdc9604fc27b786bb9ed572182885de5d9b914894bbcfe904247035dbf2',10240,'handler.py','','2026-11-21 11:51:25.288305','2026-11-21 11:51:25.316655','2026-11-21 11:51:25.703176',14,'8890930c71afcb297fcbf0622da9275f','00-8890930c71afcb297fcbf0622da9275f-0fdb97361c572354-00',1,0,'sha256:187db0d195a3a09339684cda287e7eb1dbd4195a5fb2c176e6629559d458391c',NULL,NULL,1,0,NULL);
CREATE TABLE image_caches (
	"key" VARCHAR(80) NOT NULL, 
	reference VARCHAR(400) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	used_time DATETIME NOT NULL, 
	PRIMARY KEY ("key")
);
CREATE TABLE mesh_counters (
	name VARCHAR(64) NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "mesh_counters" VALUES('uses',6);
CREATE TABLE sources (
	digest VARCHAR(80) NOT NULL, 
	blob_key VARCHAR(400) NOT NULL, 
	filename VARCHAR(255) NOT NULL, 
	is_zip BOOLEAN NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	runtime VARCHAR(16) NOT NULL, 
	entry_file VARCHAR(1024) NOT NULL, 
	used_time DATETIME NOT NULL, 
	used_version BIGINT NOT NULL, 
	PRIMARY KEY (digest)
);
INSERT INTO "sources" VALUES('sha256:f6d66890f5231449b056f867e700838267a2c826f24274c1aca257e4724d3885','sha256/50/50cd8266d1a2e52ca6a39b80d2117df98800c53e835b92103b381442cfa90a26','source.zip',1,218,'python','handler.py','2026-11-21 11:51:25.327175',4);
CREATE TABLE trash (
	kind VARCHAR(16) NOT NULL, 
	reference VARCHAR(400) NOT NULL, 
	put_time DATETIME NOT NULL, 
	PRIMARY KEY (kind, reference)
);
CREATE INDEX builds_of_function ON builds (function_uid, uid);
CREATE INDEX builds_open ON builds (reported, state);
CREATE UNIQUE INDEX builds_requests ON builds (function_uid, request_id);
COMMIT;
