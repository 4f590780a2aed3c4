package main

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// bareScript is the minimum of a redemption: it decrements a number above zero.
const bareScript = `
local left = tonumber(redis.call('GET', KEYS[1]) or ARGV[1])
if left <= 0 then return -1 end
redis.call('SET', KEYS[1], left - 1)
return left - 1`

// needRedis starts a Redis without persistence, once, and returns its address.
func (b *bench) needRedis(ctx context.Context) (string, error) {
	err := b.need("a Redis", func() error {
		port, err := freePort()
		if err != nil {
			return err
		}
		b.redis = "127.0.0.1:" + port
		server, err := b.start("redis", "", nil, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", b.dir)
		if err != nil {
			return err
		}
		client := redis.NewClient(&redis.Options{Addr: b.redis})
		defer client.Close()
		for client.Ping(ctx).Err() != nil {
			if time.Since(server.began) > startDeadline {
				return fmt.Errorf("redis does not answer\n%s", server.tail())
			}
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	})
	return b.redis, err
}

// redisRedemptions measures redemptions in Redis against bareScript, both with
// go-redis's automatic pipelining.
func (b *bench) redisRedemptions(ctx context.Context) error {
	address, err := b.needRedis(ctx)
	if err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: address, PoolSize: redeemers})
	defer client.Close()
	backend, err := redisengine.New(redisengine.Options{Addresses: []string{address}})
	if err != nil {
		return err
	}
	defer backend.Close()
	redeem, err := redeemer(ctx, backend)
	if err != nil {
		return err
	}
	pipe, err := client.AutoPipeline()
	if err != nil {
		return err
	}
	defer pipe.Close()
	loaded, err := client.ScriptLoad(ctx, bareScript).Result()
	if err != nil {
		return err
	}
	ratios, rates, err := b.inTurns(ctx, redeem, func() error {
		command := redis.NewCmd(ctx, "EVALSHA", loaded, 1, "bare", 1<<40)
		if err := pipe.Process(ctx, command); err != nil {
			return err
		}
		return command.Err()
	})
	if err != nil {
		return err
	}
	b.table.ratio(rowRedisRedemptions+", against a bare EVALSHA", medianOf(ratios), 0.8, false)
	b.table.context("redemptions, Redis", fmt.Sprintf("%.0f/s", medianOf(rates).median))
	return nil
}
