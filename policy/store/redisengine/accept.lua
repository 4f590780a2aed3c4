-- Ends the loss of a partition, if it is ARGV[9], as the caller saw it: marks of before are of
-- an earlier generation. Returns 1, 0 if there is no loss, or 2 if there is another one.
compare()
if not lost then return 0 end
if lost ~= ARGV[9] then return 2 end
local newest = tonumber(string.match(lost, '^%d+ (%d+)'))
redis.call('HSET', meta, 'gen', number(math.max(newest, generation) + 1))
redis.call('HDEL', meta, 'lost')
return 1
