BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
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
INSERT INTO "artifacts" VALUES('sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b','TREE','sha256/1e/1e418e9499668b6d8437fb3d9ba44f789801806319c54c740843fd8ca5055a2a',10240,'handler.py',1,'2026-11-21 16:42:35.249524',6);
CREATE TABLE build_events (
	build_uid VARCHAR(36) NOT NULL, 
	sequence BIGINT NOT NULL, 
	time DATETIME NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	content TEXT NOT NULL, 
	PRIMARY KEY (build_uid, sequence)
);
INSERT INTO "build_events" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3',1,'2026-11-21 16:42:34.611300','state_change','{"uid": "01a1fefc-faed-7f80-ab4c-c77f0e446bc3", "function": "workspaces/ws-default/functions/fn-dr7wafzghagd", "function_uid": "fn-dr7wafzghagd", "source_digest": "sha256:821140f49409f4c43f93273a78f75c7f5cf6a77a2970a7f63a62998398c79fd6", "deploy": true, "revision": "", "runtime": "python", "target": "", "handler": "handler", "percent": 0, "cached": false, "error": "", "last_sequence": 1, "trace_id": "731c7d2948ce5286c18bc5b814ce1751", "traceparent": "00-731c7d2948ce5286c18bc5b814ce1751-edccf2c4d5033b7d-00", "attempts": 0, "cancel_requested": false, "reported": false, "create_time": "2026-11-21T16:42:34.606018+00:00", "start_time": null, "end_time": null, "state": "PENDING", "stage": null, "artifact_digest": null, "artifact_kind": null, "artifact_reference": null, "artifact_size_bytes": null, "artifact_entry_file": null, "push_repository": null, "push_tag": null, "push_username": null, "push_image": null, "push_digest": null}');
INSERT INTO "build_events" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3',2,'2026-11-21 16:42:34.654470','state_change','{"uid": "01a1fefc-faed-7f80-ab4c-c77f0e446bc3", "function": "workspaces/ws-default/functions/fn-dr7wafzghagd", "function_uid": "fn-dr7wafzghagd", "source_digest": "sha256:821140f49409f4c43f93273a78f75c7f5cf6a77a2970a7f63a62998398c79fd6", "deploy": true, "revision": "workspaces/ws-default/functions/fn-dr7wafzghagd/revisions/1", "runtime": "python", "target": "process", "handler": "handler", "percent": 0, "cached": false, "error": "", "last_sequence": 2, "trace_id": "731c7d2948ce5286c18bc5b814ce1751", "traceparent": "00-731c7d2948ce5286c18bc5b814ce1751-edccf2c4d5033b7d-00", "attempts": 1, "cancel_requested": false, "reported": false, "create_time": "2026-11-21T16:42:34.606018+00:00", "start_time": "2026-11-21T16:42:34.653471+00:00", "end_time": null, "state": "BUILDING", "stage": null, "artifact_digest": null, "artifact_kind": null, "artifact_reference": null, "artifact_size_bytes": null, "artifact_entry_file": null, "push_repository": null, "push_tag": null, "push_username": null, "push_image": null, "push_digest": null}');
INSERT INTO "build_events" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3',3,'2026-11-21 16:42:34.684919','progress','{"stage": "UNPACK", "percent": 0}');
INSERT INTO "build_events" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3',4,'2026-11-21 16:42:35.011737','progress','{"stage": "UNPACK", "percent": 5}');
INSERT INTO "build_events" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3',5,'2026-11-21 16:42:35.011737','progress','{"stage": "CHECK", "percent": 5}');
INSERT INTO "build_events" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3',6,'2026-11-21 16:42:35.170497','progress','{"stage": "CHECK", "percent": 10}');
INSERT INTO "build_events" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3',7,'2026-11-21 16:42:35.170497','progress','{"stage": "INSTALL", "percent": 10}');
INSERT INTO "build_events" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3',8,'2026-11-21 16:42:35.175994','progress','{"stage": "INSTALL", "percent": 75}');
INSERT INTO "build_events" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3',9,'2026-11-21 16:42:35.175994','progress','{"stage": "ASSEMBLE", "percent": 75}');
INSERT INTO "build_events" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3',10,'2026-11-21 16:42:35.186430','progress','{"stage": "ASSEMBLE", "percent": 90}');
INSERT INTO "build_events" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3',11,'2026-11-21 16:42:35.186430','progress','{"stage": "PUSH", "percent": 90}');
INSERT INTO "build_events" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3',12,'2026-11-21 16:42:35.191412','state_change','{"uid": "01a1fefc-faed-7f80-ab4c-c77f0e446bc3", "function": "workspaces/ws-default/functions/fn-dr7wafzghagd", "function_uid": "fn-dr7wafzghagd", "source_digest": "sha256:821140f49409f4c43f93273a78f75c7f5cf6a77a2970a7f63a62998398c79fd6", "deploy": true, "revision": "workspaces/ws-default/functions/fn-dr7wafzghagd/revisions/1", "runtime": "python", "target": "process", "handler": "handler", "percent": 90, "cached": false, "error": "", "last_sequence": 12, "trace_id": "731c7d2948ce5286c18bc5b814ce1751", "traceparent": "00-731c7d2948ce5286c18bc5b814ce1751-edccf2c4d5033b7d-00", "attempts": 1, "cancel_requested": false, "reported": false, "create_time": "2026-11-21T16:42:34.606018+00:00", "start_time": "2026-11-21T16:42:34.653471+00:00", "end_time": null, "state": "PUSHING", "stage": "PUSH", "artifact_digest": null, "artifact_kind": null, "artifact_reference": null, "artifact_size_bytes": null, "artifact_entry_file": null, "push_repository": null, "push_tag": null, "push_username": null, "push_image": null, "push_digest": null}');
INSERT INTO "build_events" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3',13,'2026-11-21 16:42:35.208797','progress','{"stage": "PUSH", "percent": 99}');
INSERT INTO "build_events" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3',14,'2026-11-21 16:42:35.215838','state_change','{"uid": "01a1fefc-faed-7f80-ab4c-c77f0e446bc3", "function": "workspaces/ws-default/functions/fn-dr7wafzghagd", "function_uid": "fn-dr7wafzghagd", "source_digest": "sha256:821140f49409f4c43f93273a78f75c7f5cf6a77a2970a7f63a62998398c79fd6", "deploy": true, "revision": "workspaces/ws-default/functions/fn-dr7wafzghagd/revisions/1", "runtime": "python", "target": "process", "handler": "handler", "percent": 100, "cached": false, "error": "", "last_sequence": 14, "trace_id": "731c7d2948ce5286c18bc5b814ce1751", "traceparent": "00-731c7d2948ce5286c18bc5b814ce1751-edccf2c4d5033b7d-00", "attempts": 1, "cancel_requested": false, "reported": false, "create_time": "2026-11-21T16:42:34.606018+00:00", "start_time": "2026-11-21T16:42:34.653471+00:00", "end_time": "2026-11-21T16:42:35.212714+00:00", "state": "DONE", "stage": "PUSH", "artifact_digest": "sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b", "artifact_kind": "TREE", "artifact_reference": "sha256/1e/1e418e9499668b6d8437fb3d9ba44f789801806319c54c740843fd8ca5055a2a", "artifact_size_bytes": 10240, "artifact_entry_file": "handler.py", "push_repository": null, "push_tag": null, "push_username": null, "push_image": null, "push_digest": null}');
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
	report_after DATETIME, push_repository VARCHAR(400), push_tag VARCHAR(128), push_username VARCHAR(255), push_password BLOB, push_image VARCHAR(600), push_digest VARCHAR(80), 
	PRIMARY KEY (uid)
);
INSERT INTO "builds" VALUES('01a1fefc-faed-7f80-ab4c-c77f0e446bc3','workspaces/ws-default/functions/fn-dr7wafzghagd','fn-dr7wafzghagd','sha256:821140f49409f4c43f93273a78f75c7f5cf6a77a2970a7f63a62998398c79fd6',1,'f48eb74d-ce50-4d5f-af36-0fddb7182370','workspaces/ws-default/functions/fn-dr7wafzghagd/revisions/1','python','process','handler','DONE','PUSH',100,0,'sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b','TREE','sha256/1e/1e418e9499668b6d8437fb3d9ba44f789801806319c54c740843fd8ca5055a2a',10240,'handler.py','','2026-11-21 16:42:34.606018','2026-11-21 16:42:34.653471','2026-11-21 16:42:35.212714',14,'731c7d2948ce5286c18bc5b814ce1751','00-731c7d2948ce5286c18bc5b814ce1751-edccf2c4d5033b7d-00',1,0,'sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b',NULL,NULL,1,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
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
INSERT INTO "sources" VALUES('sha256:821140f49409f4c43f93273a78f75c7f5cf6a77a2970a7f63a62998398c79fd6','sha256/b6/b62a26ae150030ecee3bc63460f531497ab31bdeed9b7b710910dd3d2701cc29','source.zip',1,234,'python','handler.py','2026-11-21 16:42:34.664842',4);
CREATE TABLE trash (
	kind VARCHAR(16) NOT NULL, 
	reference VARCHAR(400) NOT NULL, 
	put_time DATETIME NOT NULL, 
	PRIMARY KEY (kind, reference)
);
CREATE INDEX builds_of_function ON builds (function_uid, uid);
CREATE INDEX builds_open ON builds (reported, state);
CREATE UNIQUE INDEX builds_requests ON builds (function_uid, request_id);
CREATE INDEX builds_pushed ON builds (push_image);
COMMIT;
