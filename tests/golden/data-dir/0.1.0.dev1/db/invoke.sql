BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
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
	response_bytes BIGINT NOT NULL, 
	PRIMARY KEY (function_uid, uid)
);
INSERT INTO "executions" VALUES('fn-riquvceuh5fp','01a1fdf271db0000ee1a87f2f13db7',1,1.79526188693930149071e+09,'3c154cbdbf0ee651402c0bc0c05d4dbb','GET /api/golden-hello',2,'in-t6gsiedgzrb6',0.0,2.56684600026346743106e-03,0,200,0,'',0,46);
INSERT INTO "executions" VALUES('fn-riquvceuh5fp','01a1fdf272dc0000ee1b87f2f13db7',2,1.79526188719666957849e+09,'794bea3a0d58708199ae5dcbf47dbcf2','',2,'in-t6gsiedgzrb6',0.0,7.88531999205588363111e-04,0,200,0,'',2,46);
CREATE TABLE mesh_counters (
	name VARCHAR(64) NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE INDEX executions_by_age ON executions (uid);
COMMIT;
