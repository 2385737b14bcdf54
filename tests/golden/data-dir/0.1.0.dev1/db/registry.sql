BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v0002');
CREATE TABLE api_keys (
	key_id VARCHAR(32) NOT NULL, 
	display_name TEXT NOT NULL, 
	scopes JSON NOT NULL, 
	workspace_uid VARCHAR(32) NOT NULL, 
	secret_hash BLOB NOT NULL, 
	create_time DATETIME NOT NULL, 
	expire_time DATETIME, 
	revoke_time DATETIME, 
	PRIMARY KEY (key_id)
);
INSERT INTO "api_keys" VALUES('Qos1iYNH','test-only','[1]','',X'99515CFF72749D76B6950BAFF9E415EC3DBA8889925EB374DC1D679726229BD5','2026-11-21 11:51:26.790395',NULL,NULL);
CREATE TABLE functions (
	uid VARCHAR(32) NOT NULL, 
	workspace_uid VARCHAR(32) NOT NULL, 
	display_name VARCHAR(63) NOT NULL, 
	path VARCHAR(255) NOT NULL, 
	spec JSON NOT NULL, 
	env BLOB NOT NULL, 
	create_time DATETIME NOT NULL, 
	update_time DATETIME NOT NULL, 
	etag VARCHAR(32) NOT NULL, 
	version BIGINT NOT NULL, 
	serving INTEGER NOT NULL, 
	running BOOLEAN NOT NULL, 
	served JSON NOT NULL, 
	latest_number INTEGER NOT NULL, 
	settled_number INTEGER NOT NULL, 
	outdated_number INTEGER NOT NULL, 
	deployment_state INTEGER NOT NULL, 
	deployment_message TEXT NOT NULL, 
	report_version BIGINT NOT NULL, 
	delete_time DATETIME, 
	gone_time DATETIME, traceparent VARCHAR(64) DEFAULT '' NOT NULL, 
	PRIMARY KEY (uid), 
	UNIQUE (version)
);
INSERT INTO "functions" VALUES('fn-riquvceuh5fp','ws-default','golden-hello','golden-hello','{"description": "", "methods": [], "runtime": 1, "target": 1, "run": {"limits": {"memory_bytes": 268435456, "cpu_millis": 1000, "timeout_ms": 30000, "concurrency": 10}, "handler": "handler", "event_format": 1}, "scaling": {"min_instances": 1, "max_instances": 1}, "access": 1, "labels": {}}',X'01D4CFAC5F64CBF27336DF2891463F90918E4B9085AEBF9704076BE17D25A9374AF6AC9DAB59CC9B482819C45A689BAAB08A3F9B2A9D27D0DC20397B0BDFF8E6','2026-11-21 11:51:25.235594','2026-11-21 11:51:26.263989','6',8,2,1,'[1, 2]',2,0,0,3,'',14,NULL,NULL,'00-cbc7f3f27eea5924d73fe2718ecb69eb-c09fb68af788b04e-00');
CREATE TABLE mesh_counters (
	name VARCHAR(64) NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "mesh_counters" VALUES('version',8);
CREATE TABLE requests (
	id VARCHAR(64) NOT NULL, 
	fingerprint BLOB NOT NULL, 
	answer BLOB NOT NULL, 
	create_time DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "requests" VALUES('dc3f79fb64b61d9d2f3ff12eb12a4f8df4f51d8090c2a2c87297f05a13a46e37',X'064773A4851B7CE50970A58AB49AECE95EB73997C041AE74D9E215A3570FB315',X'0A2F776F726B7370616365732F77732D64656661756C742F66756E6374696F6E732F666E2D726971757663657568356670120F666E2D7269717576636575683566701A0C676F6C64656E2D68656C6C6F2A0C676F6C64656E2D68656C6C6F40014A100A084752454554494E4712042A2A2A2A520F08808080800110E8071A02081E200A5A040801100160016801720768616E646C6572A2010B08BD8B86D8061090C2AB70AA010B08BD8B86D8061090C2AB70B2010131','2026-11-21 11:51:25.240040');
CREATE TABLE revisions (
	function_uid VARCHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	state INTEGER NOT NULL, 
	settings JSON NOT NULL, 
	env BLOB NOT NULL, 
	code_number INTEGER NOT NULL, 
	create_time DATETIME NOT NULL, 
	runtime INTEGER NOT NULL, 
	target INTEGER NOT NULL, 
	artifact_digest VARCHAR(80), 
	artifact JSON, 
	build_uid VARCHAR(64), 
	deploy BOOLEAN NOT NULL, 
	error TEXT NOT NULL, 
	PRIMARY KEY (function_uid, number)
);
INSERT INTO "revisions" VALUES('fn-riquvceuh5fp',1,2,'{"limits": {"memory_bytes": 268435456, "cpu_millis": 1000, "timeout_ms": 30000, "concurrency": 10}, "handler": "handler", "event_format": 1}',X'017DF426AA39E8EB611BD33EF40C046D02C7AA322FB2B11D7631527A305CCE758AD5D70ACC6683ED7BED13ACEEE80D98270E',1,'2026-11-21 11:51:25.301837',1,1,'sha256:187db0d195a3a09339684cda287e7eb1dbd4195a5fb2c176e6629559d458391c','{"digest": "sha256:187db0d195a3a09339684cda287e7eb1dbd4195a5fb2c176e6629559d458391c", "kind": 2, "reference": "sha256/19/191f7bdc9604fc27b786bb9ed572182885de5d9b914894bbcfe904247035dbf2", "size_bytes": 10240, "entry_file": "handler.py"}','01a1fdf2-6b68-744b-9978-7b488b18def3',1,'');
INSERT INTO "revisions" VALUES('fn-riquvceuh5fp',2,2,'{"limits": {"memory_bytes": 268435456, "cpu_millis": 1000, "timeout_ms": 30000, "concurrency": 10}, "handler": "handler", "event_format": 1}',X'010A2C3F45FC5EB2C15974F7C291CF5B9DEAC9884284F5A40340533907A609415045C8C7544AB902C53458018D66C3C1AFC8DD08764E54EB45FE03B058CFEBE2',1,'2026-11-21 11:51:26.262814',1,1,'sha256:187db0d195a3a09339684cda287e7eb1dbd4195a5fb2c176e6629559d458391c','{"digest": "sha256:187db0d195a3a09339684cda287e7eb1dbd4195a5fb2c176e6629559d458391c", "kind": 2, "reference": "sha256/19/191f7bdc9604fc27b786bb9ed572182885de5d9b914894bbcfe904247035dbf2", "size_bytes": 10240, "entry_file": "handler.py"}',NULL,0,'');
CREATE TABLE workspaces (
	uid VARCHAR(32) NOT NULL, 
	display_name VARCHAR(63) NOT NULL, 
	description TEXT NOT NULL, 
	create_time DATETIME NOT NULL, 
	update_time DATETIME NOT NULL, 
	etag VARCHAR(32) NOT NULL, 
	PRIMARY KEY (uid), 
	UNIQUE (display_name)
);
INSERT INTO "workspaces" VALUES('ws-default','default','','2026-11-21 11:51:18.918595','2026-11-21 11:51:18.918595','0');
CREATE UNIQUE INDEX functions_name ON functions (workspace_uid, display_name) WHERE delete_time IS NULL;
CREATE INDEX functions_path ON functions (path);
CREATE UNIQUE INDEX revisions_build ON revisions (function_uid, build_uid);
CREATE INDEX revisions_artifact ON revisions (artifact_digest);
COMMIT;
