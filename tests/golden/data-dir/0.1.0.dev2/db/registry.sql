BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v0004');
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
INSERT INTO "api_keys" VALUES('3jG6GLPi','test-only','[1]','',X'331FCEE2FF41920C1021171DD69DF7729FD70A2156A50A896A2DBEAE03621979','2026-11-21 16:42:37.272212',NULL,NULL);
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
	gone_time DATETIME, traceparent VARCHAR(64) DEFAULT '' NOT NULL, number BIGINT DEFAULT '0' NOT NULL, source_digest VARCHAR(80) DEFAULT '' NOT NULL, 
	PRIMARY KEY (uid), 
	UNIQUE (version)
);
INSERT INTO "functions" VALUES('fn-dr7wafzghagd','ws-default','golden-hello','golden-hello','{"description": "", "methods": [], "runtime": 1, "target": 1, "run": {"limits": {"memory_bytes": 268435456, "cpu_millis": 1000, "timeout_ms": 30000, "concurrency": 10}, "handler": "handler", "event_format": 1}, "scaling": {"min_instances": 1, "max_instances": 1, "idle_ttl_ms": 300000}, "access": 1, "labels": {}, "invocation_url": ""}',X'013F71FEEC79DC639BE03AC7A15D9DC212F1F4F13C5D1AD1AEE279EAD01E53C5630EEFC9343367FA1323339CA1A281279271C60339834A38F94343DE2C481991','2026-11-21 16:42:34.556277','2026-11-21 16:42:36.549498','9',11,3,1,'[1, 2, 3]',3,0,0,3,'',22,NULL,NULL,'00-66e9c4d73ac5426489d8f9bb845de18d-57637d4bfed94e23-00',1,'sha256:821140f49409f4c43f93273a78f75c7f5cf6a77a2970a7f63a62998398c79fd6');
CREATE TABLE mesh_counters (
	name VARCHAR(64) NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "mesh_counters" VALUES('version',11);
CREATE TABLE numbers (
	workspace_uid VARCHAR(32) NOT NULL, 
	last BIGINT NOT NULL, 
	PRIMARY KEY (workspace_uid)
);
INSERT INTO "numbers" VALUES('ws-default',1);
CREATE TABLE requests (
	id VARCHAR(64) NOT NULL, 
	fingerprint BLOB NOT NULL, 
	answer BLOB NOT NULL, 
	create_time DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "requests" VALUES('8281fefe7602bc78ee53004cb74836ef04af277fb3ff2102b2f8de211e85d7ae',X'8E1D3374BEC64B3051C85DB5E4A7713E0CA84765FE64685F9BB3CBDCE214F358',X'0A2F776F726B7370616365732F77732D64656661756C742F66756E6374696F6E732F666E2D6472377761667A6768616764120F666E2D6472377761667A67686167641A0C676F6C64656E2D68656C6C6F2A0C676F6C64656E2D68656C6C6F40014A100A084752454554494E4712042A2A2A2A520F08808080800110E8071A02081E200A5A09080110011A0308AC0260016801720768616E646C6572A2010C08FA9387D8061088BAA08902AA010C08FA9387D8061088BAA08902B2010131C00101','2026-11-21 16:42:34.562577');
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
INSERT INTO "revisions" VALUES('fn-dr7wafzghagd',1,2,'{"limits": {"memory_bytes": 268435456, "cpu_millis": 1000, "timeout_ms": 30000, "concurrency": 10}, "handler": "handler", "event_format": 1}',X'01DAC576F86C3A36887ED1C0E8A1064526E190224338458CCBD11A29770A990794873F4778AAC4A9202F453D6DA91B23596C',1,'2026-11-21 16:42:34.630144',1,1,'sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b','{"digest": "sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b", "kind": 2, "reference": "sha256/1e/1e418e9499668b6d8437fb3d9ba44f789801806319c54c740843fd8ca5055a2a", "size_bytes": 10240, "entry_file": "handler.py"}','01a1fefc-faed-7f80-ab4c-c77f0e446bc3',1,'');
INSERT INTO "revisions" VALUES('fn-dr7wafzghagd',2,2,'{"limits": {"memory_bytes": 268435456, "cpu_millis": 1000, "timeout_ms": 30000, "concurrency": 10}, "handler": "handler", "event_format": 1}',X'01A85A5735B919C33E4107ABA3FF321DE9B8C7937B09092F1C68E3633309561AB33E364CD673984C5FFE0365A5C794DFEE2B',1,'2026-11-21 16:42:35.891013',1,1,'sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b','{"digest": "sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b", "kind": 2, "reference": "sha256/1e/1e418e9499668b6d8437fb3d9ba44f789801806319c54c740843fd8ca5055a2a", "size_bytes": 10240, "entry_file": "handler.py"}',NULL,0,'');
INSERT INTO "revisions" VALUES('fn-dr7wafzghagd',3,2,'{"limits": {"memory_bytes": 268435456, "cpu_millis": 1000, "timeout_ms": 30000, "concurrency": 10}, "handler": "handler", "event_format": 1}',X'019DA679F8658E27010988725AEBD24DE3AD608A7369B7EBBB0C39C1F901D899509DF0AB2B4E1B80BD2A7EF8BC9C35DE43A4161660A7400B609F8C37EFF6BAAB',1,'2026-11-21 16:42:36.548878',1,1,'sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b','{"digest": "sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b", "kind": 2, "reference": "sha256/1e/1e418e9499668b6d8437fb3d9ba44f789801806319c54c740843fd8ca5055a2a", "size_bytes": 10240, "entry_file": "handler.py"}',NULL,0,'');
CREATE TABLE secrets (
	function_uid VARCHAR(32) NOT NULL, 
	"key" VARCHAR(128) NOT NULL, 
	value BLOB NOT NULL, 
	set_time DATETIME NOT NULL, 
	PRIMARY KEY (function_uid, "key")
);
INSERT INTO "secrets" VALUES('fn-dr7wafzghagd','SECRET',X'012C371E63ADD0ACC69D0688E6B277438B0CA0133822046A6DD269BAF773F38962508FF820E64314AE8C3A506D878DE5C566A92C','2026-11-21 16:42:35.887931');
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
INSERT INTO "workspaces" VALUES('ws-default','default','','2026-11-21 16:42:27.075129','2026-11-21 16:42:27.075129','0');
CREATE UNIQUE INDEX functions_name ON functions (workspace_uid, display_name) WHERE delete_time IS NULL;
CREATE INDEX functions_path ON functions (path);
CREATE UNIQUE INDEX revisions_build ON revisions (function_uid, build_uid);
CREATE INDEX revisions_artifact ON revisions (artifact_digest);
CREATE INDEX functions_number ON functions (number);
COMMIT;
