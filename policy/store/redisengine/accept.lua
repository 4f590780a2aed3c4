-- Ends the loss of a partition: marks of before are of an earlier generation. Returns
-- whether there was one.
compare()
if not lost then return 0 end
local newest = tonumber(string.match(lost, '^%d+ (%d+)'))
redis.call('HSET', meta, 'gen', number(math.max(newest, generation) + 1))
redis.call('HDEL', meta, 'lost')
return 1
