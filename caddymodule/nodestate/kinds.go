package nodestate

import "github.com/gatefold/gatefold/admin/condition"

// The kinds of conditions. docs/operations.md has a row for each, docs/alerts.yml an
// alert for each that is no notice.
var (
	storeUnreachable = condition.Register("store_unreachable", condition.Critical,
		"See that Redis is up and that this machine reaches it; the node recovers by itself.")
	servingStale = condition.Register("serving_stale", condition.Warning,
		"Bring the store back before the time is over: then requests that need a record are answered 503.")
	servingSnapshot = condition.Register("serving_snapshot", condition.Warning,
		"Bring the store back before the time is over: this node started without it, and decides from what it has on its disk. Counted links and what changed since are answered 503.")
	gateClosed = condition.Register("gate_closed", condition.Critical,
		"Bring the store back: requests that need a record are answered 503 until then.")
	feedBehind = condition.Register("feed_behind", condition.Warning,
		"See whether this machine is overloaded or its connection to Redis is slow: until it caught up, removed access still counts here.")
	writesFailing = condition.Register("writes_failing", condition.Critical,
		"Do what the error says: free space, make the disk or the server writable, or bring the replicas back.")
	countedLinksRefused = condition.Register("counted_links_refused", condition.Critical,
		"Remove the cause, which is a condition of its own: until then links with maxUses are answered 503.")
	storeDamaged = condition.Register("store_damaged", condition.Critical,
		"Stop the server, see `gatefold store verify`, and restore a backup.")
	diskFilling = condition.Register("disk_filling", condition.Warning,
		"Free space on the disk of the database, or enlarge it: when it is full, changes and counted links are refused.")
	diskFull = condition.Register("disk_full", condition.Critical,
		"Free space on the disk of the database now: when nothing is left, changes and counted links are refused.")
	backupOld = condition.Register("backup_old", condition.Warning,
		"Do what the error says: see that the folder of `backup` can be written and has space. Until then a lost disk loses what changed since.")
	storeFileReplaced = condition.Register("store_file_replaced", condition.Critical,
		"What is written now is lost at a restart: save it first by `gatefold store backup <file>`, stop the server, put that copy at the database's path, and start.")

	storeWentBack = condition.Register("store_went_back", condition.Critical,
		"Find out why Redis came back without writes that it had acknowledged (docs/redis.md), look through the window for what must be done again, then end the state by `gatefold store accept-loss` on one node.")

	redisEvicts = condition.Register("redis_evicts", condition.Critical,
		"Set maxmemory-policy noeviction in Redis, and keep it in its configuration file.")
	redisMemoryFull = condition.Register("redis_memory_full", condition.Critical,
		"Raise maxmemory in Redis now, or give it a larger machine: at 100 % new grants, links and uses of counted links are answered 503. Removals and revocations always have room.")
	redisMemoryFilling = condition.Register("redis_memory_filling", condition.Warning,
		"Raise maxmemory in Redis before it is full: see docs/redis.md for what a record takes.")
	redisNotPersistent = condition.Register("redis_not_persistent", condition.Warning,
		"Set appendonly yes and appendfsync always in Redis: see docs/redis.md.")
	redisSyncsLate = condition.Register("redis_syncs_late", condition.Notice,
		"Set appendfsync always in Redis, or ack_replicas in Gatefold, unless losing the last second is acceptable.")
	redisReplica = condition.Register("redis_read_only", condition.Critical,
		"Give the address of the master, or use redis+sentinel:// or redis+cluster://.")
	replicasMissing = condition.Register("replicas_missing", condition.Critical,
		"Bring replicas back until as many as ack_replicas are connected: until then changes and counted links are answered 503.")

	issuerKeysMissing = condition.Register("issuer_keys_missing", condition.Critical,
		"See whether this machine reaches the issuer: until its keys are there, its readers get 503 keys_unavailable.")
	issuerKeysStale = condition.Register("issuer_keys_stale", condition.Warning,
		"See whether this machine reaches the issuer: the old keys count for jwks { stale_if_error } only.")
	publisherKeysMissing = condition.Register("publisher_keys_missing", condition.Warning,
		"`gatefold domain probe` shows the cause: until the keys are there, links of the publisher get 503 keys_unavailable.")

	crawlerListOld = condition.Register("crawler_list_old", condition.Warning,
		"See whether this machine reaches the host of the list, and whether the list is still there: a copy counts for 7 days, then its crawlers are not let in.")

	indexBuilding = condition.Register("index_building", condition.Notice,
		"Wait: searches are right meanwhile, but read more, and imports of grants are answered 503 index_building with Retry-After.")

	linkLeaked = condition.Register("link_leaked", condition.Warning,
		"`gatefold link show <id>` has who used it. Revoke it and give its reader another one; or, if so many readers are meant, `gatefold link restore <id>`.")

	webhookFailing = condition.Register("webhook_failing", condition.Warning,
		"See the receiver's log, and `gatefold webhook test <id>`. A disabled webhook is enabled by `gatefold webhook enable <id>`; `gatefold webhook replay <id>` sends its dead letters.")

	pagesStale = condition.Register("pages_stale", condition.Warning,
		"Bring the origin back: readers get expired pages from the page cache for `stale_if_error`, and its errors after that and for all other pages.")

	clockOff = condition.Register("clock_off", condition.Critical,
		"Synchronize the clocks (NTP) of this machine and of the other: tokens and links are judged by this node's clock.")
	clockStopped = condition.Register("clock_stopped", condition.Critical,
		"Set the clock (NTP) of this machine, or of the one with Redis: this node goes on by itself within 10 s.")
)
