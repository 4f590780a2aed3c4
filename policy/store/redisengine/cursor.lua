-- Looks where a partition is. It writes only when the partition is behind.
--
-- Returns {position, token, generation, revision, id of the newest batch, loss, whether it
-- is behind, time of the server in milliseconds}.
local behind = compare()
local now = redis.call('TIME')
local state = redis.call('HMGET', meta, 'pos', 'tok')
return {
	state[1] or '0', state[2] or '', number(generation), number(revision),
	batch_at(number(revision)) or '', lost or '', behind and 1 or 0, number(tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)),
}
