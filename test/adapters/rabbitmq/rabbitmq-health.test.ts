import { expect, test } from 'vitest'
import { RabbitHealth } from '../../../src/adapters/rabbitmq/rabbitmq-health.ts'

test('tells the worst state with all reasons, and nothing before it begins or after it ends', () => {
  const told: string[] = []
  const health = new RabbitHealth((state, reason) => told.push(`${state}: ${reason}`))
  health.ill('a', 'degraded', 'slow')
  expect([told, health.reason]).toEqual([[], 'slow'])
  health.begin()
  health.ill('b', 'down', 'gone')
  health.well('a')
  health.well('never ill')
  health.well('b')
  health.end()
  health.ill('b', 'down', 'gone')
  expect(told).toEqual(['degraded: slow', 'down: slow; gone', 'down: gone', 'up: '])
})
