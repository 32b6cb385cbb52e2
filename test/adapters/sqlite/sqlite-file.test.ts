import { expect, test } from 'vitest'
import { isNetworkFileSystem, isSafeVersion } from '../../../src/adapters/sqlite/sqlite-file.ts'

test.each(['3.51.3', '3.51.10', '3.53.4', '3.54.0', '3.60.1', '3.50.7', '3.44.6', '4.0.0'])('SQLite %s is safe', (version) => {
  expect(isSafeVersion(version)).toBe(true)
})

test.each(['3.7.0', '3.40.1', '3.44.5', '3.45.0', '3.47.2', '3.50.4', '3.51.0', '3.51.2', '3.52.0', '', 'nonsense', '2.8.17'])('SQLite %s can lose commits', (version) => {
  expect(isSafeVersion(version)).toBe(false)
})

test('tells network file systems from local ones', () => {
  for (const nfs of [0x6969, 0xfe534d42, 0x01021997]) expect(isNetworkFileSystem(nfs)).toBe(true)
  for (const local of [0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630]) expect(isNetworkFileSystem(local)).toBe(false)
})
