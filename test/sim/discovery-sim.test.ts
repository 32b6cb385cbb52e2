import { describe, expect, test } from 'vitest'
import type { BusView } from '../../src/bus/port.ts'
import { TrunklineError } from '../../src/core/errors.ts'
import { DescribeInstance } from '../../src/discovery/announcement-contracts.ts'
import { type Directory, discovery } from '../../src/discovery/directory.ts'
import { type SimOptions, brokenPromises, simulateDiscovery } from './discovery-sim.ts'

const OPTIONS: SimOptions = { instances: 40, readers: 40, seed: 7, minutes: 4, churnPerMinute: 0.1, latencyMsMax: 10, lossShare: 0.001 }

/** A directory of which some members are replaced; the rest is the real one. */
function bent(directory: Directory, over: Partial<Directory>): Directory {
  return new Proxy(directory, {
    get(target, name) {
      const value: unknown = Reflect.get(name in over ? over : target, name, name in over ? over : target)
      return typeof value === 'function' ? value.bind(name in over ? over : target) : value
    },
  })
}

/** Everything real, over a side plane that is not. */
function over(side: (view: BusView) => Partial<BusView['side']>): (options: object) => Directory {
  return (options) => {
    const directory = discovery(options)
    return bent(directory, { attach: (view) => directory.attach({ ...view, side: { ...view.side, ...side(view) } }) })
  }
}

test('a cluster with churn, partitions, stalls, losses and clock jumps keeps every promise', async () => {
  const result = await simulateDiscovery(OPTIONS)
  expect(brokenPromises(result)).toEqual([])
  expect(result).toMatchObject({ falseDowns: 0, wrongAtEnd: 0, falseStales: 0 })
  expect(result.faults).toMatchObject({ cut: 8 })
  for (const spread of [result.detectedMs.killed, result.detectedMs.lost]) expect(spread.count).toBeGreaterThan(50)
  expect(result.joinedMs.count).toBeGreaterThan(10)
})

test('one seed gives one result, and another seed another one', async () => {
  const small = { ...OPTIONS, instances: 20, minutes: 2 }
  const results = [await simulateDiscovery(small), await simulateDiscovery(small), await simulateDiscovery({ ...small, seed: 8 })]
  expect(results[1]).toEqual(results[0])
  expect({ ...results[2], seed: small.seed }).not.toEqual(results[0])
})

test('in a cluster that has grown beyond the shortest interval nobody is suspected and no view is stale where nothing fails', async () => {
  const result = await simulateDiscovery({ ...OPTIONS, instances: 150, readers: 20, beatMs: 500, minutes: 1, churnPerMinute: 0, lossShare: 0, isCalm: true })
  expect(result).toMatchObject({ beatMs: 2_500, falseSuspects: 0, falseStales: 0, falseDowns: 0, wrongAtEnd: 0 })
})

describe('a planted fault is told:', () => {
  test('suspects that are never cleared', async () => {
    const result = await simulateDiscovery({
      ...OPTIONS,
      directory: (options) => {
        const directory = discovery(options)
        const suspects = new Set<string>()
        directory.watch((event) => {
          if (event.kind === 'instance-suspect') suspects.add(event.instance.instance)
        })
        return bent(directory, { all: () => directory.all().map((one) => (suspects.has(one.instance) && one.state === 'up' ? { ...one, state: 'suspect' } : one)) })
      },
    })
    expect(result.wrongAtEnd).toBeGreaterThan(0)
    expect(brokenPromises(result).join()).toContain('entries of views were wrong')
  })

  test('questions that are refused although the instance is there', async () => {
    const directory = over(({ side }) => ({
      ask: (contract, data, options) => (contract.type === DescribeInstance.type ? Promise.reject(new TrunklineError('bus.no_responder', { type: contract.type })) : side.ask(contract, data, options)),
    }))
    const result = await simulateDiscovery({ ...OPTIONS, lossShare: 0.3, directory })
    expect(result.falseDowns).toBeGreaterThan(0)
    expect(brokenPromises(result).join()).toContain('was called down')
  })

  test('announcements that come too often', async () => {
    const directory = over(({ side }) => ({
      broadcast: async (contract, data) => {
        for (let count = 0; count < 20; count++) await side.broadcast(contract, data)
      },
    }))
    expect(brokenPromises(await simulateDiscovery({ ...OPTIONS, minutes: 1, directory })).join()).toContain('announcements in a second')
  })

  test('joiners that ask nobody', async () => {
    const directory = over(({ side }) => ({ ask: (contract, data, options) => (contract.type === DescribeInstance.type ? side.ask(contract, data, options) : Promise.reject(new TrunklineError('bus.no_responder', { type: contract.type }))) }))
    expect(brokenPromises(await simulateDiscovery({ ...OPTIONS, directory })).join()).toContain('a joiner took')
  })
})
