BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
CREATE TABLE cursors (
	name VARCHAR(32) NOT NULL, 
	version BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "cursors" VALUES('registry',11);
CREATE TABLE function_minutes (
	function_uid VARCHAR(32) NOT NULL, 
	minute BIGINT NOT NULL, 
	target VARCHAR(16) NOT NULL, 
	cpus DOUBLE NOT NULL, 
	memory_bytes BIGINT NOT NULL, 
	PRIMARY KEY (function_uid, minute, target)
);
CREATE TABLE functions (
	uid VARCHAR(32) NOT NULL, 
	name TEXT NOT NULL, 
	display_name TEXT NOT NULL, 
	version BIGINT NOT NULL, 
	revision INTEGER NOT NULL, 
	running BOOLEAN NOT NULL, 
	min_instances INTEGER NOT NULL, 
	target VARCHAR(16) NOT NULL, 
	deleted BOOLEAN NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	message TEXT NOT NULL, 
	last_ready_revision INTEGER NOT NULL, 
	deployment_version BIGINT NOT NULL, 
	changed_at DATETIME, 
	slot INTEGER NOT NULL, 
	log_sequence BIGINT NOT NULL, 
	report_number BIGINT NOT NULL, 
	reported_number BIGINT NOT NULL, traceparent VARCHAR(64) DEFAULT '' NOT NULL, idle_ttl_s DOUBLE DEFAULT '300' NOT NULL, 
	PRIMARY KEY (uid), 
	UNIQUE (slot)
);
INSERT INTO "functions" VALUES('fn-dr7wafzghagd','workspaces/ws-default/functions/fn-dr7wafzghagd','golden-hello',11,3,1,1,'process',0,'pending','',3,25,'2026-11-21 16:42:43.777128',0,6,25,22,'00-66e9c4d73ac5426489d8f9bb845de18d-57637d4bfed94e23-00',300.0);
CREATE TABLE instances (
	uid VARCHAR(32) NOT NULL, 
	function_uid VARCHAR(32) NOT NULL, 
	revision INTEGER NOT NULL, 
	target VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	live BOOLEAN NOT NULL, 
	created_at DATETIME NOT NULL, 
	artifact VARCHAR(80) NOT NULL, 
	handle TEXT NOT NULL, 
	address TEXT NOT NULL, 
	concurrency INTEGER NOT NULL, 
	timeout_ms BIGINT NOT NULL, 
	ready_at DATETIME, 
	draining_at DATETIME, 
	drain_deadline DATETIME, 
	ended_at DATETIME, 
	retired TEXT NOT NULL, 
	message TEXT NOT NULL, 
	version BIGINT NOT NULL, 
	log_position BIGINT NOT NULL, 
	cleaned BOOLEAN NOT NULL, 
	PRIMARY KEY (uid)
);
INSERT INTO "instances" VALUES('in-u6cbafxvtich','fn-dr7wafzghagd',1,'process','stopped',0,'2026-11-21 16:42:35.250642','sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b','11429@3097416','unix:/tmp/fnmesh-4a26094e/i/in-u6cbafxvtich/s',10,30000,'2026-11-21 16:42:35.442188','2026-11-21 16:42:36.023548','2026-11-21 16:43:11.023548','2026-11-21 16:42:36.088655','','',15,0,1);
INSERT INTO "instances" VALUES('in-cpxzf6tyawty','fn-dr7wafzghagd',2,'process','stopped',0,'2026-11-21 16:42:35.916907','sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b','11712@3097817','unix:/tmp/fnmesh-4a26094e/i/in-cpxzf6tyawty/s',10,30000,'2026-11-21 16:42:36.015214','2026-11-21 16:42:36.728108','2026-11-21 16:43:11.728108','2026-11-21 16:42:36.773340','','',23,0,1);
INSERT INTO "instances" VALUES('in-dr2cbh2fbxje','fn-dr7wafzghagd',3,'process','stopped',0,'2026-11-21 16:42:36.568042','sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b','11771@3097913','unix:/tmp/fnmesh-4a26094e/i/in-dr2cbh2fbxje/s',10,30000,'2026-11-21 16:42:36.717595',NULL,NULL,'2026-11-21 16:42:43.760458','','Stopped with the mesh.',24,0,1);
CREATE TABLE log_lines (
	function_uid VARCHAR(32) NOT NULL, 
	sequence BIGINT NOT NULL, 
	written_at DATETIME NOT NULL, 
	stream VARCHAR(8) NOT NULL, 
	instance VARCHAR(32) NOT NULL, 
	revision INTEGER NOT NULL, 
	trace_id VARCHAR(32) NOT NULL, 
	text TEXT NOT NULL, 
	bytes INTEGER NOT NULL, 
	PRIMARY KEY (function_uid, sequence)
);
INSERT INTO "log_lines" VALUES('fn-dr7wafzghagd',1,'2026-11-21 16:42:35.389849','system','in-u6cbafxvtich',1,'','Started revision 1 (process 11429@3097416).',43);
INSERT INTO "log_lines" VALUES('fn-dr7wafzghagd',2,'2026-11-21 16:42:35.942643','system','in-cpxzf6tyawty',2,'','Started revision 2 (process 11712@3097817).',43);
INSERT INTO "log_lines" VALUES('fn-dr7wafzghagd',3,'2026-11-21 16:42:36.114342','system','in-u6cbafxvtich',1,'','Stopped.',8);
INSERT INTO "log_lines" VALUES('fn-dr7wafzghagd',4,'2026-11-21 16:42:36.598332','system','in-dr2cbh2fbxje',3,'','Started revision 3 (process 11771@3097913).',43);
INSERT INTO "log_lines" VALUES('fn-dr7wafzghagd',5,'2026-11-21 16:42:36.860876','system','in-cpxzf6tyawty',2,'','Stopped.',8);
INSERT INTO "log_lines" VALUES('fn-dr7wafzghagd',6,'2026-11-21 16:42:43.734381','system','in-dr2cbh2fbxje',3,'','Stopped with the mesh.',22);
CREATE TABLE mesh_counters (
	name VARCHAR(64) NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "mesh_counters" VALUES('version',25);
CREATE TABLE revisions (
	function_uid VARCHAR(32) NOT NULL, 
	revision INTEGER NOT NULL, 
	artifact VARCHAR(80) NOT NULL, 
	used_at DATETIME NOT NULL, 
	failures INTEGER NOT NULL, 
	failure_kind VARCHAR(16) NOT NULL, 
	failed_at DATETIME, 
	failure_message TEXT NOT NULL, 
	PRIMARY KEY (function_uid, revision)
);
INSERT INTO "revisions" VALUES('fn-dr7wafzghagd',1,'sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b','2026-11-21 16:42:35.250642',0,'',NULL,'');
INSERT INTO "revisions" VALUES('fn-dr7wafzghagd',2,'sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b','2026-11-21 16:42:35.916907',0,'',NULL,'');
INSERT INTO "revisions" VALUES('fn-dr7wafzghagd',3,'sha256:bef4c9646577a793424477d54e72fb19adabbc51f84bc1f002ba5452d5ddf64b','2026-11-21 16:42:36.568042',0,'',NULL,'');
CREATE TABLE target_minutes (
	minute BIGINT NOT NULL, 
	target VARCHAR(16) NOT NULL, 
	cpu_percent DOUBLE NOT NULL, 
	memory_percent DOUBLE NOT NULL, 
	PRIMARY KEY (minute, target)
);
CREATE INDEX ix_instances_function_uid ON instances (function_uid);
CREATE INDEX ix_instances_live ON instances (live);
CREATE INDEX ix_instances_version ON instances (version);
CREATE INDEX ix_log_lines_written_at ON log_lines (written_at);
CREATE INDEX log_lines_by_trace ON log_lines (function_uid, trace_id);
CREATE INDEX function_minutes_by_age ON function_minutes (minute);
COMMIT;
