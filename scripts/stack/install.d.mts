export function versitygw(): Promise<string>
export function kafkaJars(version?: string): Promise<string>
export function installedKafka(version?: string): string | null
export function hiveJars(major: 3 | 4): Promise<string>
export function installedHive(major: 3 | 4): string | null
