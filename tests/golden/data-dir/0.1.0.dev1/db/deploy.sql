BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE cursors (
	name VARCHAR(32) NOT NULL, 
	version BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "cursors" VALUES('registry',8);
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
	reported_number BIGINT NOT NULL, traceparent VARCHAR(64) DEFAULT '' NOT NULL, 
	PRIMARY KEY (uid), 
	UNIQUE (slot)
);
INSERT INTO "functions" VALUES('fn-riquvceuh5fp','workspaces/ws-default/functions/fn-riquvceuh5fp','golden-hello',8,2,1,1,'process',0,'pending','',2,17,'2026-11-21 11:51:30.341101',0,4,17,14,'00-cbc7f3f27eea5924d73fe2718ecb69eb-c09fb68af788b04e-00');
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
INSERT INTO "instances" VALUES('in-mnnnuvyyfkyp','fn-riquvceuh5fp',1,'process','stopped',0,'2026-11-21 11:51:25.750228','sha256:187db0d195a3a09339684cda287e7eb1dbd4195a5fb2c176e6629559d458391c','27334@1350838','unix:/tmp/fnmesh-eb7f0a65/i/in-mnnnuvyyfkyp/s',10,30000,'2026-11-21 11:51:25.903032','2026-11-21 11:51:26.412505','2026-11-21 11:52:01.412505','2026-11-21 11:51:26.443205','','',15,0,1);
INSERT INTO "instances" VALUES('in-t6gsiedgzrb6','fn-riquvceuh5fp',2,'process','stopped',0,'2026-11-21 11:51:26.286597','sha256:187db0d195a3a09339684cda287e7eb1dbd4195a5fb2c176e6629559d458391c','27389@1350885','unix:/tmp/fnmesh-eb7f0a65/i/in-t6gsiedgzrb6/s',10,30000,'2026-11-21 11:51:26.399230',NULL,NULL,'2026-11-21 11:51:30.337126','','Stopped with the mesh.',16,0,1);
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
INSERT INTO "log_lines" VALUES('fn-riquvceuh5fp',1,'2026-11-21 11:51:25.835092','system','in-mnnnuvyyfkyp',1,'','Started revision 1 (process 27334@1350838).',43);
INSERT INTO "log_lines" VALUES('fn-riquvceuh5fp',2,'2026-11-21 11:51:26.315656','system','in-t6gsiedgzrb6',2,'','Started revision 2 (process 27389@1350885).',43);
INSERT INTO "log_lines" VALUES('fn-riquvceuh5fp',3,'2026-11-21 11:51:26.491194','system','in-mnnnuvyyfkyp',1,'','Stopped.',8);
INSERT INTO "log_lines" VALUES('fn-riquvceuh5fp',4,'2026-11-21 11:51:30.328925','system','in-t6gsiedgzrb6',2,'','Stopped with the mesh.',22);
CREATE TABLE mesh_counters (
	name VARCHAR(64) NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "mesh_counters" VALUES('version',17);
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
INSERT INTO "revisions" VALUES('fn-riquvceuh5fp',1,'sha256:187db0d195a3a09339684cda287e7eb1dbd4195a5fb2c176e6629559d458391c','2026-11-21 11:51:25.750228',0,'',NULL,'');
INSERT INTO "revisions" VALUES('fn-riquvceuh5fp',2,'sha256:187db0d195a3a09339684cda287e7eb1dbd4195a5fb2c176e6629559d458391c','2026-11-21 11:51:26.286597',0,'',NULL,'');
CREATE INDEX ix_instances_function_uid ON instances (function_uid);
CREATE INDEX ix_instances_live ON instances (live);
CREATE INDEX ix_instances_version ON instances (version);
CREATE INDEX ix_log_lines_written_at ON log_lines (written_at);
CREATE INDEX log_lines_by_trace ON log_lines (function_uid, trace_id);
COMMIT;
