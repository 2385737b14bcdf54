BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0006');
CREATE TABLE executions (
	function_uid VARCHAR(32) NOT NULL, 
	uid VARCHAR(30) NOT NULL, 
	"trigger" SMALLINT NOT NULL, 
	started DOUBLE NOT NULL, 
	trace_id VARCHAR(32) NOT NULL, 
	request_line TEXT NOT NULL, 
	revision INTEGER NOT NULL, 
	instance VARCHAR(64) NOT NULL, 
	queued_s DOUBLE NOT NULL, 
	duration_s DOUBLE NOT NULL, 
	cold_start BOOLEAN NOT NULL, 
	status INTEGER NOT NULL, 
	failed BOOLEAN NOT NULL, 
	error TEXT NOT NULL, 
	request_bytes BIGINT NOT NULL, 
	response_bytes BIGINT NOT NULL, request_body TEXT DEFAULT '' NOT NULL, response_body TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (function_uid, uid)
);
INSERT INTO "executions" VALUES('fn-dr7wafzghagd','01a1fefd05f2000059ad0c07edaa74',1,1.79527935742603731153e+09,'5768a51611d5765176b18058264dc380','GET /api/golden-hello',3,'in-dr2cbh2fbxje',0.0,4.54471800185274332761e-03,0,200,0,'',0,67,'','');
INSERT INTO "executions" VALUES('fn-dr7wafzghagd','01a1fefd0749000059ae0c07edaa74',2,1.79527935776940083503e+09,'22cf692f24df6e68ce9dfa9a7661df28','',3,'in-dr2cbh2fbxje',0.0,1.41747700035921297967e-03,0,200,0,'',2,67,'{}','{"greeting":"hello from the past","secret":"****","edition":1}');
CREATE TABLE job_lines (
	uid VARCHAR(36) NOT NULL, 
	sequence BIGINT NOT NULL, 
	lines BLOB NOT NULL, 
	PRIMARY KEY (uid, sequence)
);
CREATE TABLE jobs (
	uid VARCHAR(36) NOT NULL, 
	workspace_uid VARCHAR(64) NOT NULL, 
	workspace_name VARCHAR(64) NOT NULL, 
	kind SMALLINT NOT NULL, 
	state SMALLINT NOT NULL, 
	function_uid VARCHAR(64) NOT NULL, 
	function_name VARCHAR(255) NOT NULL, 
	function_display_name VARCHAR(64) NOT NULL, 
	language SMALLINT NOT NULL, 
	target SMALLINT NOT NULL, 
	memory_bytes BIGINT NOT NULL, 
	timeout_s DOUBLE NOT NULL, 
	max_attempts INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	claim INTEGER NOT NULL, 
	owner VARCHAR(40) NOT NULL, 
	cancel BOOLEAN NOT NULL, 
	due DOUBLE NOT NULL, 
	lease_until DOUBLE NOT NULL, 
	queued_at DOUBLE NOT NULL, 
	postponed INTEGER NOT NULL, 
	exit_code INTEGER, 
	status_code INTEGER NOT NULL, 
	error TEXT NOT NULL, 
	execution VARCHAR(255) NOT NULL, 
	log_key VARCHAR(255) NOT NULL, 
	code_key VARCHAR(255), 
	result_key VARCHAR(255) NOT NULL, 
	traceparent VARCHAR(64) NOT NULL, 
	request_id VARCHAR(128), 
	schedule_uid VARCHAR(64) NOT NULL, 
	http BOOLEAN NOT NULL, 
	created DOUBLE NOT NULL, 
	updated DOUBLE NOT NULL, 
	started DOUBLE NOT NULL, 
	ended DOUBLE NOT NULL, 
	version INTEGER NOT NULL, 
	event BLOB NOT NULL, 
	result BLOB NOT NULL, 
	PRIMARY KEY (uid)
);
CREATE TABLE mesh_counters (
	name VARCHAR(64) NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE run_counts (
	function_uid VARCHAR(32) NOT NULL, 
	step INTEGER NOT NULL, 
	bucket SMALLINT NOT NULL, 
	runs BIGINT NOT NULL, 
	failures BIGINT NOT NULL, 
	duration_s DOUBLE NOT NULL, 
	PRIMARY KEY (function_uid, step, bucket)
);
INSERT INTO "run_counts" VALUES('fn-dr7wafzghagd',5984264,49,1,0,4.54471800185274332761e-03);
INSERT INTO "run_counts" VALUES('fn-dr7wafzghagd',5984264,42,1,0,1.41747700035921297967e-03);
CREATE TABLE run_totals (
	function_uid VARCHAR(32) NOT NULL, 
	bucket SMALLINT NOT NULL, 
	runs BIGINT NOT NULL, 
	failures BIGINT NOT NULL, 
	duration_s DOUBLE NOT NULL, 
	PRIMARY KEY (function_uid, bucket)
);
INSERT INTO "run_totals" VALUES('fn-dr7wafzghagd',0,2,0,5.96219500221195630729e-03);
CREATE TABLE schedule_ticks (
	schedule_uid VARCHAR(32) NOT NULL, 
	tick DOUBLE NOT NULL, 
	job_uid VARCHAR(36) NOT NULL, 
	PRIMARY KEY (schedule_uid, tick)
);
CREATE TABLE schedules (
	uid VARCHAR(32) NOT NULL, 
	workspace_uid VARCHAR(64) NOT NULL, 
	workspace_name VARCHAR(64) NOT NULL, 
	cron VARCHAR(128) NOT NULL, 
	time_zone VARCHAR(64) NOT NULL, 
	make_up BOOLEAN NOT NULL, 
	kind SMALLINT NOT NULL, 
	function_uid VARCHAR(64) NOT NULL, 
	function_name VARCHAR(255) NOT NULL, 
	function_display_name VARCHAR(64) NOT NULL, 
	language SMALLINT NOT NULL, 
	target SMALLINT NOT NULL, 
	memory_bytes BIGINT NOT NULL, 
	timeout_s DOUBLE NOT NULL, 
	max_attempts INTEGER NOT NULL, 
	next_due DOUBLE NOT NULL, 
	last_tick DOUBLE NOT NULL, 
	last_job VARCHAR(36) NOT NULL, 
	error TEXT NOT NULL, 
	created DOUBLE NOT NULL, 
	event BLOB NOT NULL, 
	code BLOB NOT NULL, 
	PRIMARY KEY (uid)
);
CREATE INDEX executions_by_age ON executions (uid);
CREATE UNIQUE INDEX jobs_requests ON jobs (workspace_uid, request_id);
CREATE UNIQUE INDEX jobs_code ON jobs (code_key);
CREATE INDEX jobs_newest ON jobs (created, uid);
CREATE INDEX jobs_of_workspace ON jobs (workspace_uid, created, uid);
CREATE INDEX jobs_by_state ON jobs (state, created, uid) WHERE state <> 4;
CREATE INDEX jobs_queue ON jobs (kind, due, uid) WHERE state = 2;
CREATE INDEX jobs_queue_of_workspace ON jobs (kind, workspace_uid, due, uid) WHERE state = 2;
CREATE INDEX jobs_running ON jobs (workspace_uid) WHERE state = 3;
CREATE INDEX run_counts_by_age ON run_counts (step);
CREATE INDEX schedules_due ON schedules (next_due);
CREATE INDEX schedules_newest ON schedules (created, uid);
COMMIT;
